/**
 * Events a shim wrote down and did not get to hand over before it was killed: they are passed on from its outbox file, so
 * that nobody misses an exit, and nobody gets one twice that the daemon would else have to make up.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { readOutbox } from "../../../shims/shared/outbox.ts";
import { TaskDeleteSchema, TaskExitSchema } from "../../api/gen/containerd/events/task_pb.ts";
import type { Call } from "../../core/call.ts";
import { messageOf } from "../../core/errors.ts";
import type { Envelope, EventExchange } from "../../core/events/events.ts";
import { joinNs } from "../../lib/time.ts";
import type { Bundle } from "./bundle.ts";

/** What has been told of a task. */
export interface Told {
  readonly exit: boolean;
  readonly deleted: boolean;
}

/** See the file's comment. */
export class LostEvents {
  readonly #events: EventExchange;
  readonly #call: Call;
  /** `TOPIC NAMESPACE/ID` of exits of init processes and of deletes. */
  readonly #told = new Set<string>();

  constructor(events: EventExchange, call: Call) {
    this.#events = events;
    this.#call = call;
  }

  /** Passes on what a dead shim left in any of its bundles. */
  replay(bundles: readonly Bundle[]): void {
    for (const bundle of bundles) {
      const path = join(bundle.path, "outbox");
      const left = readOutbox(path);
      for (const { timestamp, topic = "", event, namespace = "" } of left) {
        // a shim may serve containers of several namespaces
        const of = namespace === "" ? bundle.namespace : namespace;
        const value = event?.value ?? new Uint8Array();
        try {
          const envelope: Envelope = {
            timestamp: joinNs(timestamp?.seconds ?? 0n, timestamp?.nanos ?? 0),
            namespace: of,
            topic,
            event: { typeUrl: event?.typeUrl ?? "", value },
          };
          // the shim was killed before it noted that this one had arrived
          if (!this.#events.wasForwarded(envelope)) this.#events.forward(this.#call, envelope);
          const id = endOf(topic, value);
          if (id !== undefined) this.#told.add(`${topic} ${of}/${id}`);
        } catch (err) {
          this.#call.log.warn("pass on event of a dead shim", { topic, reason: messageOf(err) });
        }
      }
      if (left.length === 0) continue;
      this.#call.log.info("passed on events of a dead shim", { id: bundle.id, events: left.length });
      rmSync(path, { force: true });
    }
  }

  /** What was passed on of a task's end; forgotten with this answer. */
  take(bundle: Bundle): Told {
    const key = `${bundle.namespace}/${bundle.id}`;
    return {
      exit: this.#told.delete(`/tasks/exit ${key}`),
      deleted: this.#told.delete(`/tasks/delete ${key}`),
    };
  }
}

/** The container whose end an event tells; undefined for other events. */
function endOf(topic: string, value: Uint8Array): string | undefined {
  if (topic === "/tasks/delete") return fromBinary(TaskDeleteSchema, value).containerId;
  if (topic !== "/tasks/exit") return undefined;
  const { containerId, id } = fromBinary(TaskExitSchema, value);
  return id === "" || id === containerId ? containerId : undefined;
}
