/** `http_debug` and `logs_stream` of a transfer: what is said to the registry, for the client or the daemon's log. */
import { HTTPDebug, type RegistryResolver } from "../../api/gen/containerd/types/transfer/registry_pb.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { AnyStream } from "../../core/streaming/streaming.ts";
import { AsyncQueue } from "../../lib/async-queue.ts";
import type { DumpOptions } from "../../registry/dump.ts";
import { writeBytes } from "./byte-streams.ts";

/** Longest wait for a client that still reads when the transfer has ended, in milliseconds. */
const LAST_WORDS_MS = 1000;
/** Texts that wait for a slow client; more are dropped: a client that does not read must not stop a transfer. */
const QUEUE = 1024;

/** A log of requests. Dispose it with the transfer: its stream ends then. */
export interface HttpLog extends DumpOptions, AsyncDisposable {}

/**
 * What to write down, or undefined. Goes to the client's stream when it named one, else to the daemon's log.
 * @throws not-found when the stream is not there
 */
export function dumpOf(
  call: NamespacedCall,
  resolver: RegistryResolver | undefined,
  streamOf: (id: string) => AnyStream,
): HttpLog | undefined {
  const mode = resolver?.httpDebug ?? HTTPDebug.DISABLED;
  if (mode === HTTPDebug.DISABLED) return undefined;
  const heads = mode === HTTPDebug.DEBUG || mode === HTTPDebug.BOTH;
  const times = mode === HTTPDebug.TRACE || mode === HTTPDebug.BOTH;
  const id = resolver?.logsStream ?? "";
  if (id === "")
    return {
      heads,
      times,
      write: (text) => call.log.info("registry", { http: text.trimEnd() }),
      async [Symbol.asyncDispose]() {},
    };
  const stream = streamOf(id);
  const queue = new AsyncQueue<Uint8Array>(QUEUE);
  const written = writeBytes(stream, queue, call.signal)
    // a client that no longer reads its log still gets its image
    .catch(() => {})
    .finally(() => queue.close());
  const encoder = new TextEncoder();
  return {
    heads,
    times,
    write: (text) => void queue.tryPush(encoder.encode(text)),
    async [Symbol.asyncDispose]() {
      queue.close();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, LAST_WORDS_MS);
      });
      await Promise.race([written, late]);
      clearTimeout(timer);
      stream.close();
    },
  };
}
