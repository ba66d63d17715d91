import { deadlineExceeded, invalidArgument } from "../../../core/errors.ts";
import { createDeferred } from "../../../lib/deferred.ts";
import { type Command, runCommand } from "../command.ts";
import type { StreamingLimits } from "../limits.ts";
import { ResizeEvents } from "../resize.ts";
import type { StdioStreams, StreamingRuntime } from "../runtime.ts";
import type { ByteTransport } from "../transport.ts";
import { SpdyConnection, type SpdyStream } from "./connection.ts";

/** Protocols of exec and attach over SPDY, best first. 4 has exit codes, 3 terminal sizes. */
export const COMMAND_PROTOCOLS: readonly string[] = [
  "v4.channel.k8s.io",
  "v3.channel.k8s.io",
  "v2.channel.k8s.io",
  "channel.k8s.io",
];

/**
 * Serves exec or attach: the client opens one stream for each kind it asked for, named by the header `streamtype`, in any
 * order. Ends the connection in every case.
 * @throws what the client broke
 */
export async function serveSpdyCommand(
  transport: ByteTransport,
  protocol: string,
  command: Command,
  runtime: StreamingRuntime,
  limits: StreamingLimits,
): Promise<void> {
  const version = COMMAND_PROTOCOLS.length - COMMAND_PROTOCOLS.indexOf(protocol);
  const { request } = command;
  const wanted = new Set(["error"]);
  for (const kind of ["stdin", "stdout", "stderr"] as const) if (request[kind]) wanted.add(kind);
  if (request.tty && version >= 3) wanted.add("resize");

  const opened = new Map<string, SpdyStream>();
  const complete = createDeferred<void>();
  const connection = new SpdyConnection(
    transport,
    {
      opened(stream) {
        const kind = stream.headers.get("streamtype") ?? "";
        if (!wanted.has(kind) || opened.has(kind)) return false;
        opened.set(kind, stream);
        if (opened.size === wanted.size) complete.resolve();
        return true;
      },
    },
    limits,
  );
  // A client that closes or breaks the protocol ends the wait, too.
  const reading = connection.run().then(
    () => undefined,
    (err: unknown) => ({ err }),
  );
  const left = new AbortController();
  void reading.then((end) => {
    left.abort();
    if (end !== undefined) transport.destroy();
  });
  const timer = setTimeout(
    () => complete.reject(deadlineExceeded("wait for the client's streams: timed out")),
    limits.streamCreationMs,
  );
  try {
    await Promise.race([complete.promise, reading.then(gone)]);
    clearTimeout(timer);
    const error = opened.get("error");
    if (error === undefined) return;
    const resize = new ResizeEvents();
    const sizes = opened.get("resize");
    const sizing = sizes === undefined ? undefined : feed(sizes, resize, transport);
    const stdin = opened.get("stdin")?.source;
    const stdout = opened.get("stdout");
    const stderr = opened.get("stderr");
    const streams: StdioStreams = {
      ...(stdin && { stdin }),
      ...(stdout && { stdout }),
      ...(stderr && { stderr }),
      resize,
      signal: AbortSignal.any([transport.signal, left.signal]),
    };
    await runCommand(runtime, command, { streams, error, statusAsJson: version >= 4 });
    resize.end();
    await connection.end();
    await sizing;
    const end = await reading;
    if (end !== undefined) throw end.err;
  } finally {
    clearTimeout(timer);
    transport.destroy();
  }
}

function gone(end: { readonly err: unknown } | undefined): never {
  throw end === undefined ? invalidArgument("wait for the client's streams: client is gone") : end.err;
}

/** Copies the resize stream; a client that sends nonsense loses the connection. */
async function feed(stream: SpdyStream, resize: ResizeEvents, transport: ByteTransport): Promise<void> {
  try {
    for await (const bytes of stream.source) resize.push(bytes);
  } catch {
    transport.destroy();
  }
  resize.end();
}
