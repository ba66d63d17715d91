/**
 * The service of the RPC tests, with one method of each kind, built from well-known message types so that the Go
 * peer needs no generated code either. `peerHandlers` is our side of it; main.go has the same in Go.
 */
import { create, createFileRegistry, type DescService } from "@bufbuild/protobuf";
import {
  type BytesValue,
  FileDescriptorProtoSchema,
  file_google_protobuf_wrappers,
  type Int64Value,
  type StringValue,
} from "@bufbuild/protobuf/wkt";
import { abortError } from "../../../src/core/call.ts";
import { notFound } from "../../../src/core/errors.ts";
import { fromStatus } from "../../../src/rpc/status.ts";
import {
  type ClientCallOptions,
  EncodedMessage,
  type HandlerContext,
  type ServiceBinding,
} from "../../../src/rpc/types.ts";

const W = ".google.protobuf.";
const method = (name: string, input: string, output: string, client = false, server = false) => ({
  name,
  inputType: `${W}${input}`,
  outputType: `${W}${output}`,
  clientStreaming: client,
  serverStreaming: server,
});

const file = create(FileDescriptorProtoSchema, {
  name: "gantry/test/peer.proto",
  package: "gantry.test.v1",
  syntax: "proto3",
  dependency: ["google/protobuf/wrappers.proto"],
  service: [
    {
      name: "Peer",
      method: [
        method("Echo", "BytesValue", "BytesValue"),
        method("Fail", "StringValue", "StringValue"),
        method("Header", "StringValue", "StringValue"),
        method("Wait", "StringValue", "StringValue"),
        method("Missing", "StringValue", "StringValue"),
        method("Read", "Int64Value", "BytesValue", false, true),
        method("Write", "BytesValue", "Int64Value", true, false),
        method("Chat", "BytesValue", "BytesValue", true, true),
        method("Watch", "StringValue", "StringValue", false, true),
      ],
    },
  ],
});

function load(): DescService {
  const found = createFileRegistry(file, (name) =>
    name === "google/protobuf/wrappers.proto" ? file_google_protobuf_wrappers : undefined,
  ).getService("gantry.test.v1.Peer");
  if (found === undefined) throw new Error("no service");
  return found;
}

/** `gantry.test.v1.Peer` */
export const Peer: DescService = load();

/** The typed client of a service whose descriptor is made at run time. */
export interface PeerClient {
  echo(request: { value: Uint8Array }, options?: ClientCallOptions): Promise<BytesValue>;
  fail(request: { value: string }, options?: ClientCallOptions): Promise<StringValue>;
  header(request: { value: string }, options?: ClientCallOptions): Promise<StringValue>;
  wait(request: { value: string }, options?: ClientCallOptions): Promise<StringValue>;
  missing(request: { value: string }, options?: ClientCallOptions): Promise<StringValue>;
  read(request: { value: bigint }, options?: ClientCallOptions): AsyncIterable<BytesValue>;
  write(requests: AsyncIterable<{ value: Uint8Array }>, options?: ClientCallOptions): Promise<Int64Value>;
  chat(
    requests: AsyncIterable<{ value: Uint8Array }>,
    options?: ClientCallOptions,
  ): AsyncIterable<BytesValue>;
  watch(request: { value: string }, options?: ClientCallOptions): AsyncIterable<StringValue>;
}

/** What the handlers saw, for assertions. */
export interface PeerLog {
  /** Calls whose signal aborted, by method name and the reason's message. */
  readonly aborted: string[];
  /** Called when `aborted` grows. */
  onAborted?: () => void;
  /** Bytes the Read handler produced. */
  produced: number;
  /** Messages the Chat handler took. */
  taken: number;
}

export const CHUNK = new Uint8Array(1 << 20).fill(0x5a);

/** `google.protobuf.BytesValue` by hand: tag, length, the bytes uncopied. */
export function encodeBytesValue(bytes: Uint8Array): EncodedMessage {
  const head = [0x0a];
  let n = bytes.length;
  while (n > 127) {
    head.push((n & 127) | 128);
    n >>>= 7;
  }
  head.push(n);
  return new EncodedMessage([Uint8Array.from(head), bytes]);
}

/** Our side of the service. `gate` holds Chat's reader back until it resolves. */
export function bindPeer(log: PeerLog, gate?: Promise<void>): ServiceBinding {
  const onAbort = (name: string, context: HandlerContext): Promise<never> =>
    new Promise((_, reject) => {
      const { signal } = context.call;
      const done = (): void => {
        log.aborted.push(`${name}: ${(signal.reason as Error).message}`);
        log.onAborted?.();
        reject(abortError(signal));
      };
      if (signal.aborted) done();
      else signal.addEventListener("abort", done, { once: true });
    });
  return {
    service: Peer,
    handlers: {
      echo: (request: BytesValue) => ({ value: request.value }),
      fail(request: StringValue) {
        if (request.value === "details")
          throw fromStatus(9, "with details", [
            {
              typeUrl: "type.googleapis.com/google.protobuf.StringValue",
              value: Uint8Array.of(10, 2, 104, 105),
            },
          ]);
        if (request.value === "plain") throw new Error("größer: 100 % kaputt\n");
        throw notFound(`image "${request.value}"`, { hint: "pull it first" });
      },
      header(request: StringValue, context: HandlerContext) {
        context.setHeader("x-answer", "head");
        context.setTrailer("x-trailer", "tail");
        if (request.value === "namespace") return { value: context.call.namespace ?? "" };
        if (request.value === "lease") return { value: context.call.lease ?? "" };
        return { value: (context.headers.get(request.value) ?? []).join("|") };
      },
      wait: (_: StringValue, context: HandlerContext) => onAbort("wait", context),
      async *read(request: Int64Value) {
        for (let left = Number(request.value); left > 0; left -= CHUNK.length) {
          const bytes = left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left);
          log.produced += bytes.length;
          yield encodeBytesValue(bytes);
        }
      },
      async write(requests: AsyncIterable<BytesValue>) {
        let sum = 0n;
        for await (const { value } of requests) sum += BigInt(value.length);
        return { value: sum };
      },
      async *chat(requests: AsyncIterable<BytesValue>, context: HandlerContext) {
        if (gate !== undefined) await Promise.race([gate, onAbort("chat", context)]);
        for await (const { value } of requests) {
          log.taken++;
          yield { value };
        }
      },
      async *watch(request: StringValue, context: HandlerContext) {
        yield { value: `watching ${request.value}` };
        await onAbort("watch", context);
      },
    },
  };
}
