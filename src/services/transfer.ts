import { create, toBinary } from "@bufbuild/protobuf";
import { Transfer } from "../api/gen/containerd/services/transfer/v1/transfer_pb.ts";
import { ProgressSchema } from "../api/gen/containerd/types/transfer/progress_pb.ts";
import { invalidArgument } from "../core/errors.ts";
import type { AnyStream, StreamManager } from "../core/streaming/streaming.ts";
import type { Progress, Transferrer } from "../core/transfer/transfer.ts";
import { fromAny } from "../rpc/convert/basic.ts";
import { toDescriptor } from "../rpc/convert/oci.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Transfer service; progress goes to the stream the client named. */
export function transferService(transferrer: Transferrer, streams: StreamManager): ServiceBinding {
  return bindService(Transfer, {
    async transfer(request, { call }) {
      const ns = call.namespaced();
      if (request.source === undefined || request.destination === undefined)
        throw invalidArgument("source and destination are required");
      const name = request.options?.progressStream ?? "";
      const stream = name === "" ? undefined : streams.get(ns, name);
      const reporter = progressReporter(stream);
      try {
        await transferrer.transfer(
          ns,
          fromAny(request.source),
          fromAny(request.destination),
          reporter.report,
        );
      } finally {
        await reporter.flush();
        stream?.close();
      }
      return {};
    },
  });
}

/** Sends progress in order; a stream that is gone or slow never stops the transfer. */
function progressReporter(stream: AnyStream | undefined): {
  report: (p: Progress) => void;
  flush: () => Promise<void>;
} {
  let last: Promise<void> = Promise.resolve();
  let pending = 0;
  let broken = stream === undefined;
  return {
    report(p) {
      // byte counts may be dropped when the client reads slowly, changes of stage never
      if (broken || stream === undefined || (pending > 64 && p.progress > 0n && p.progress < p.total)) return;
      pending++;
      last = last
        .then(() => stream.send({ typeUrl: ProgressSchema.typeName, value: encode(p) }))
        .catch(() => {
          broken = true;
        })
        .finally(() => {
          pending--;
        });
    },
    flush: () => last,
  };
}

function encode(p: Progress): Uint8Array {
  const desc = p.desc === undefined ? {} : { desc: toDescriptor(p.desc) };
  return toBinary(
    ProgressSchema,
    create(ProgressSchema, {
      event: p.event,
      name: p.name,
      parents: [...p.parents],
      progress: p.progress,
      total: p.total,
      ...desc,
    }),
  );
}
