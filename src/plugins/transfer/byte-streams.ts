/**
 * Bytes over typed streams, with containerd's flow control: the reader grants credit by WindowUpdate, the writer sends Data
 * messages while it has credit, closing ends the bytes.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { DataSchema, WindowUpdateSchema } from "../../api/gen/containerd/types/transfer/streaming_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { canceled, invalidArgument, unavailable } from "../../core/errors.ts";
import type { AnyStream } from "../../core/streaming/streaming.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { decodeAny } from "../../rpc/convert/basic.ts";

/** Credit the reader keeps out, in bytes. */
const WINDOW = 1024 * 1024;
/** Largest Data message; a reader with a smaller window (Go's: 64 KiB) gets smaller ones by its credit. */
const MAX_DATA = 256 * 1024;

/** The bytes a peer writes. @throws invalid-argument on other messages, canceled */
export async function* readBytes(
  stream: AnyStream,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let credit = 0;
  const onAbort = (): void => stream.close();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      if (credit < WINDOW / 2) {
        await stream.send(windowUpdate(WINDOW - credit));
        credit = WINDOW;
      }
      const message = await stream.receive(signal);
      if (signal.aborted) throw canceled("");
      if (message === undefined) return;
      const data = decodeData(message);
      credit -= data.byteLength;
      yield data;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    stream.close();
  }
}

/** Writes all of `source` and closes the stream. @throws unavailable when the peer left, canceled */
export async function writeBytes(
  stream: AnyStream,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  let credit = 0;
  let gone = false;
  let wake = createDeferred<void>();
  const wakeUp = (): void => {
    wake.resolve();
    wake = createDeferred<void>();
  };
  signal.addEventListener("abort", wakeUp, { once: true });
  const updates = (async () => {
    for (;;) {
      const message = await stream.receive(signal);
      if (message === undefined) break;
      if (!isType(message, WindowUpdateSchema.typeName)) continue;
      credit += fromBinary(WindowUpdateSchema, message.value).update;
      wakeUp();
    }
  })()
    // a client that broke off, or says what cannot be read, has left all the same
    .catch(() => {})
    .finally(() => {
      gone = true;
      wakeUp();
    });
  try {
    for await (const chunk of source) {
      for (let at = 0; at < chunk.byteLength; ) {
        while (credit <= 0 && !gone && !signal.aborted) await wake.promise;
        if (signal.aborted) throw canceled("");
        if (gone && credit <= 0) throw unavailable(`stream "${stream.id}": the reader left`);
        const length = Math.min(chunk.byteLength - at, MAX_DATA, credit);
        credit -= length;
        await stream.send(dataMessage(chunk.subarray(at, at + length)));
        at += length;
      }
    }
  } finally {
    signal.removeEventListener("abort", wakeUp);
    stream.close();
    void updates;
  }
}

function isType(message: AnyValue, name: string): boolean {
  return message.typeUrl === name || message.typeUrl.endsWith(`/${name}`);
}

function decodeData(message: AnyValue): Uint8Array {
  if (!isType(message, DataSchema.typeName))
    throw invalidArgument(`stream message "${message.typeUrl}": want ${DataSchema.typeName}`);
  return decodeAny(DataSchema, message, "stream message").data;
}

function dataMessage(data: Uint8Array): AnyValue {
  // The schema wants its own buffer type; a view on a shared one is not sent on.
  const message = create(DataSchema, { data: new Uint8Array(data) });
  return { typeUrl: DataSchema.typeName, value: toBinary(DataSchema, message) };
}

function windowUpdate(update: number): AnyValue {
  const message = create(WindowUpdateSchema, { update });
  return { typeUrl: WindowUpdateSchema.typeName, value: toBinary(WindowUpdateSchema, message) };
}
