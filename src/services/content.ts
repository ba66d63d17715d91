import type { MessageInitShape } from "@bufbuild/protobuf";
import type { InfoSchema, StatusSchema } from "../api/gen/containerd/services/content/v1/content_pb.ts";
import { Content } from "../api/gen/containerd/services/content/v1/content_pb.ts";
import type { ContentInfo, ContentStore, IngestStatus } from "../core/content/content.ts";
import { invalidArgument, notFound, outOfRange } from "../core/errors.ts";
import { parseDigest } from "../core/ids/digest.ts";
import { fieldPaths, fromLabels, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";
import { encodeReadResponse } from "./content-read.ts";
import { handleWrite } from "./content-write.ts";

/** Infos in one List message, as containerd batches them. */
const BATCH = 100;
/** Bytes of content in one Read message. */
const READ_CHUNK = 1 << 20;

/** Content service. */
export function contentService(store: ContentStore): ServiceBinding {
  return bindService(Content, {
    async info(request, { call }) {
      return { info: toInfo(await store.info(call.namespaced(), parseDigest(request.digest))) };
    },
    async update(request, { call }) {
      if (request.info === undefined) throw invalidArgument("info is required");
      const { digest, labels } = request.info;
      const info = await store.update(
        call.namespaced(),
        parseDigest(digest),
        fromLabels(labels),
        fieldPaths(request.updateMask),
      );
      return { info: toInfo(info) };
    },
    async *list(request, { call }) {
      let batch: MessageInitShape<typeof InfoSchema>[] = [];
      for await (const info of store.walk(call.namespaced(), request.filters)) {
        batch.push(toInfo(info));
        if (batch.length < BATCH) continue;
        yield { info: batch };
        batch = [];
      }
      if (batch.length > 0) yield { info: batch };
    },
    async delete(request, { call }) {
      await store.delete(call.namespaced(), parseDigest(request.digest));
      return {};
    },
    async *read(request, { call }) {
      await using reader = await store.reader(call.namespaced(), parseDigest(request.digest));
      const { offset, size } = request;
      if (offset < 0n) throw outOfRange("offset is negative");
      if (offset > reader.size) throw outOfRange("read past object length");
      if (size < 0n || offset + size > reader.size) {
        throw outOfRange(`read past object length ${reader.size} bytes`);
      }
      const end = size === 0n ? reader.size : offset + size;
      let at = offset;
      while (at < end) {
        call.check();
        const want = end - at > BigInt(READ_CHUNK) ? READ_CHUNK : Number(end - at);
        const data = await reader.readAt(at, want);
        if (data.length === 0) throw outOfRange(`read past object length ${reader.size} bytes`);
        yield encodeReadResponse(at, data);
        at += BigInt(data.length);
      }
    },
    async status(request, { call }) {
      return { status: toStatus(await store.status(call.namespaced(), request.ref)) };
    },
    async listStatuses(request, { call }) {
      return { statuses: (await store.statuses(call.namespaced(), request.filters)).map(toStatus) };
    },
    async *write(requests, { call }) {
      yield* handleWrite(store, requests, call.namespaced());
    },
    async abort(request, { call }) {
      if (request.ref === "") throw notFound('ingest ""');
      await store.abort(call.namespaced(), request.ref);
      return {};
    },
  });
}

function toInfo(i: ContentInfo): MessageInitShape<typeof InfoSchema> {
  return {
    digest: i.digest,
    size: i.size,
    createdAt: toTimestamp(i.createdAt),
    updatedAt: toTimestamp(i.updatedAt),
    labels: toRecord(i.labels),
  };
}

function toStatus(s: IngestStatus): MessageInitShape<typeof StatusSchema> {
  return {
    ref: s.ref,
    offset: s.offset,
    total: s.total,
    expected: s.expected ?? "",
    startedAt: toTimestamp(s.startedAt),
    updatedAt: toTimestamp(s.updatedAt),
  };
}
