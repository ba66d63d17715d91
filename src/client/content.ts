/** ContentStore over the content service. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  Content,
  type Info,
  type Status,
  WriteAction,
  type WriteContentRequestSchema,
  type WriteContentResponse,
} from "../api/gen/containerd/services/content/v1/content_pb.ts";
import type { Labels } from "../core/any.ts";
import type { NamespacedCall } from "../core/call.ts";
import type {
  BlobReader,
  ContentInfo,
  ContentStore,
  ContentWriter,
  IngestStatus,
  WriterOptions,
} from "../core/content/content.ts";
import { internal, unavailable } from "../core/errors.ts";
import { type Digest, parseDigest } from "../core/ids/digest.ts";
import { AsyncQueue } from "../lib/async-queue.ts";
import { createHash } from "../lib/hash.ts";
import { createClient } from "../rpc/client.ts";
import { fromLabels, fromTimestamp, ownBytes, toRecord } from "../rpc/convert/basic.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Client, Transport } from "../rpc/types.ts";

/** Bytes in one Write message: containerd's clients use the same. */
const WRITE_CHUNK = 1 << 20;
/** Milliseconds a server gets to end a stream that the client closed. */
const CLOSE_MS = 5_000;
type Request = MessageInitShape<typeof WriteContentRequestSchema>;

/** Makes the store. */
export function contentClient(transport: Transport): ContentStore {
  const client = createClient(Content, transport);
  return {
    async info(call, digest) {
      return fromInfo((await client.info({ digest }, callOptions(call))).info);
    },
    async update(call, digest, labels, fields) {
      const request = {
        info: { digest, labels: toRecord(labels) },
        ...(fields.length === 0 ? {} : { updateMask: { paths: [...fields] } }),
      };
      return fromInfo((await client.update(request, callOptions(call))).info);
    },
    async *walk(call, filters) {
      for await (const batch of client.list({ filters: [...filters] }, callOptions(call)))
        for (const info of batch.info) yield fromInfo(info);
    },
    async delete(call, digest) {
      await client.delete({ digest }, callOptions(call));
    },
    async reader(call, digest) {
      const info = await this.info(call, digest);
      return openReader(client, call, digest, info.size);
    },
    async status(call, ref) {
      return fromStatus((await client.status({ ref }, callOptions(call))).status);
    },
    async statuses(call, filters) {
      return (await client.listStatuses({ filters: [...filters] }, callOptions(call))).statuses.map(
        fromStatus,
      );
    },
    async abort(call, ref) {
      await client.abort({ ref }, callOptions(call));
    },
    writer: (call, options) => openWriter(client, call, options),
  };
}

function openReader(
  client: Client<typeof Content>,
  call: NamespacedCall,
  digest: Digest,
  size: bigint,
): BlobReader {
  const close = async (): Promise<void> => {};
  async function* stream(from: bigint, length: bigint): AsyncIterable<Uint8Array> {
    if (from >= size) return;
    for await (const part of client.read({ digest, offset: from, size: length }, callOptions(call)))
      yield part.data;
  }
  return {
    size,
    async readAt(offset, length) {
      const left = size - offset;
      if (left <= 0n || length === 0) return new Uint8Array();
      const want = left < BigInt(length) ? Number(left) : length;
      const out = new Uint8Array(want);
      let at = 0;
      for await (const part of stream(offset, BigInt(want))) {
        out.set(part, at);
        at += part.length;
      }
      return out.subarray(0, at);
    },
    stream: (offset = 0n) => stream(offset, 0n),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** One Write stream: every request waits for its answer, as the service's protocol wants. */
async function openWriter(
  client: Client<typeof Content>,
  call: NamespacedCall,
  options: WriterOptions,
): Promise<ContentWriter> {
  const requests = new AsyncQueue<Request>(1);
  const answers = client.write(requests, callOptions(call))[Symbol.asyncIterator]();
  let last: WriteContentResponse;
  const ask = async (request: Request): Promise<WriteContentResponse> => {
    await requests.push(request);
    const answer = await answers.next();
    if (answer.done === true) throw unavailable(`write to ref "${options.ref}": the server ended the stream`);
    return answer.value;
  };
  const total = options.size ?? 0n;
  const expected = options.expected ?? "";
  last = await ask({ action: WriteAction.STAT, ref: options.ref, total, expected });
  let offset = last.offset;
  // some servers' answers to a write name no digest: who does not expect one has it computed here
  let told = last.digest;
  let hash = expected === "" && offset === 0n ? createHash("sha256") : undefined;
  // the server lets go of the ref before it ends the stream: who closes may open the same ref again
  const close = async (): Promise<void> => {
    requests.close();
    const timer = setTimeout(() => void answers.return?.(), CLOSE_MS);
    try {
      while ((await answers.next()).done !== true);
    } catch {
      // told by the method that failed
    } finally {
      clearTimeout(timer);
    }
  };
  return {
    status: () => ({
      ref: options.ref,
      offset,
      total,
      expected: options.expected,
      startedAt: fromTimestamp(last.startedAt),
      updatedAt: fromTimestamp(last.updatedAt),
    }),
    async write(data) {
      for (let at = 0; at < data.length; at += WRITE_CHUNK) {
        const part = ownBytes(data.subarray(at, at + WRITE_CHUNK));
        last = await ask({ action: WriteAction.WRITE, offset, data: part });
        offset += BigInt(part.length);
        told = last.digest;
        hash?.update(part);
      }
    },
    async truncate() {
      // the service starts over when offset 0 is written
      offset = 0n;
      told = "";
      hash = createHash("sha256");
    },
    digest() {
      if (told !== "") return parseDigest(told);
      if (hash === undefined) throw internal(`digest of ref "${options.ref}": the server did not tell`);
      return parseDigest(`sha256:${hash.copy().digest("hex")}`);
    },
    async commit(size, want, labels = new Map()) {
      last = await ask({
        action: WriteAction.COMMIT,
        total: size,
        offset,
        expected: want ?? "",
        labels: toRecord(labels),
      });
      told = last.digest;
      await close();
      return parseDigest(last.digest);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function fromInfo(info: Info | undefined): ContentInfo {
  if (info === undefined) throw internal("read content info: empty answer");
  const labels: Labels = fromLabels(info.labels);
  return {
    digest: parseDigest(info.digest),
    size: info.size,
    createdAt: fromTimestamp(info.createdAt),
    updatedAt: fromTimestamp(info.updatedAt),
    labels,
  };
}

function fromStatus(status: Status | undefined): IngestStatus {
  if (status === undefined) throw internal("read ingest status: empty answer");
  return {
    ref: status.ref,
    offset: status.offset,
    total: status.total,
    expected: status.expected === "" ? undefined : parseDigest(status.expected),
    startedAt: fromTimestamp(status.startedAt),
    updatedAt: fromTimestamp(status.updatedAt),
  };
}
