/**
 * The Write stream of the content service (containerd's state machine):
 *
 *   STAT   -> answers offset, total, digest of the ingest
 *   WRITE  -> appends data at offset; offset 0 on a non-empty ingest starts over; other mismatches are OutOfRange
 *   COMMIT -> appends data if any, checks total and expected, answers the digest; ends the stream
 *
 * `ref` is fixed by the first message; of `total` and `expected` the last that was named counts at commit, as in
 * containerd: a client may learn while it writes that the blob becomes another one. Every answer tells the digest so far.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponseSchema,
} from "../api/gen/containerd/services/content/v1/content_pb.ts";
import type { NamespacedCall } from "../core/call.ts";
import type { ContentStore, ContentWriter } from "../core/content/content.ts";
import { invalidArgument, outOfRange } from "../core/errors.ts";
import { type Digest, parseDigest } from "../core/ids/digest.ts";
import { fromLabels, toTimestamp } from "../rpc/convert/basic.ts";

type Response = MessageInitShape<typeof WriteContentResponseSchema>;

/** Serves one Write stream. */
export async function* handleWrite(
  store: ContentStore,
  requests: AsyncIterable<WriteContentRequest>,
  call: NamespacedCall,
): AsyncIterable<Response> {
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  if (first.done === true) return;
  let request = first.value;
  if (request.ref === "") throw invalidArgument("first message must have a reference");
  const ref = request.ref;
  let total = request.total;
  let expected = request.expected === "" ? undefined : parseDigest(request.expected);
  await using writer = await store.writer(call, { ref, size: total, expected });
  for (;;) {
    call.check();
    if (request.ref !== "" && request.ref !== ref)
      throw invalidArgument(`write to ref "${request.ref}": the stream writes "${ref}"`);
    if (request.total > 0n) total = request.total;
    if (request.expected !== "") expected = parseDigest(request.expected);
    const answer = await step(writer, request, total, expected);
    yield answer;
    if (request.action === WriteAction.COMMIT) return;
    const next = await incoming.next();
    if (next.done === true) return;
    request = next.value;
  }
}

async function step(
  writer: ContentWriter,
  request: WriteContentRequest,
  total: bigint,
  expected: Digest | undefined,
): Promise<Response> {
  if (request.action === WriteAction.STAT)
    return { ...head(writer, request.action), digest: writer.digest() };
  if (request.action !== WriteAction.WRITE && request.action !== WriteAction.COMMIT)
    throw invalidArgument(`write action ${request.action} is unknown`);
  if (request.offset < 0n) throw outOfRange("offset is negative");
  const offset = writer.status().offset;
  // a commit without data may leave its offset out
  if (
    request.offset !== offset &&
    (request.action === WriteAction.WRITE || request.data.length > 0 || request.offset !== 0n)
  ) {
    if (request.offset !== 0n)
      throw outOfRange(`write @${request.offset} must occur at current offset ${offset}`);
    await writer.truncate(0n);
  }
  if (request.data.length > 0) {
    await writer.write(request.data);
  }
  if (request.action === WriteAction.COMMIT) {
    const size = writer.status().offset;
    const started = head(writer, request.action);
    const digest = await writer.commit(total, expected, fromLabels(request.labels));
    return { ...started, offset: size, digest };
  }
  return { ...head(writer, request.action), digest: writer.digest() };
}

function head(writer: ContentWriter, action: WriteAction): Response {
  const status = writer.status();
  return {
    action,
    offset: status.offset,
    total: status.total,
    startedAt: toTimestamp(status.startedAt),
    updatedAt: toTimestamp(status.updatedAt),
  };
}
