/** containers create, delete, info, list, label. */

import { containersClient } from "../../../client/containers.ts";
import { snapshotterClient } from "../../../client/snapshots.ts";
import { tasksClient } from "../../../client/tasks.ts";
import { failedPrecondition, isNotFound, messageOf } from "../../../core/errors.ts";
import { formatRfc3339 } from "../../../lib/time.ts";
import { parseExactJson, toExactJson, unpackSpec } from "../../../oci/spec/json.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { labelsOf, need } from "../context.ts";
import { createContainer } from "../create-container.ts";
import { formatLabels, renderTable, toJson } from "../table.ts";

export const create: Action = async (context, args, options) => {
  await using transport = context.connect();
  await createContainer({ transport, call: context.call(), args, options });
  return 0;
};

export const remove: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const containers = containersClient(transport);
  need(args, 0, "container id");
  let code = 0;
  for (const id of args) {
    try {
      const container = await containers.get(call, id);
      const task = await tasksClient(transport)
        .get(call, id, "")
        .catch((err: unknown) => {
          if (isNotFound(err)) return undefined;
          throw err;
        });
      if (task !== undefined && task.status !== "stopped" && task.status !== "created") {
        throw failedPrecondition(`cannot delete a non stopped container: ${task.status}`, {
          hint: `stop it first: ctr tasks kill -s KILL ${id}`,
        });
      }
      if (task !== undefined) await tasksClient(transport).delete(call, id);
      if (options["keepSnapshot"] !== true && container.snapshotKey !== "") {
        await snapshotterClient(transport, container.snapshotter)
          .remove(call, container.snapshotKey)
          .catch((err: unknown) => {
            if (!isNotFound(err)) throw err;
          });
      }
      await containers.delete(call, id);
      if ([...container.labels.keys()].some((k) => k.startsWith("gantry.cni/")))
        await (await import("../cni-network.ts")).releaseNetwork(call, id, container.labels);
    } catch (err) {
      toStderr(`ctr: failed to delete container "${id}": ${messageOf(err)}\n`);
      if (err instanceof Error && "hint" in err && typeof err.hint === "string")
        toStderr(`     ${err.hint}\n`);
      code = 1;
    }
  }
  return code;
};

export const info: Action = async (context, args, options) => {
  await using transport = context.connect();
  const c = await containersClient(transport).get(context.call(), need(args, 0, "container id"));
  if (options["spec"] === true) {
    toStdout(`${toExactJson(unpackSpec(c.spec), 4)}\n`);
    return 0;
  }
  toStdout(
    toJson({
      ID: c.id,
      Labels: c.labels,
      Image: c.image,
      Runtime: {
        Name: c.runtime.name,
        Options:
          c.runtime.options === undefined
            ? null
            : { type_url: c.runtime.options.typeUrl, value: c.runtime.options.value },
      },
      SnapshotKey: c.snapshotKey,
      Snapshotter: c.snapshotter,
      CreatedAt: formatRfc3339(c.createdAt),
      UpdatedAt: formatRfc3339(c.updatedAt),
      Extensions: c.extensions.size === 0 ? null : c.extensions,
      SandboxID: c.sandbox,
      Spec: c.spec === undefined ? null : parseExactJson(new TextDecoder().decode(c.spec.value)),
    }),
  );
  return 0;
};

export const list: Action = async (context, args, options) => {
  await using transport = context.connect();
  const all = await containersClient(transport).list(context.call(), args);
  if (options["quiet"] === true) for (const c of all) toStdout(`${c.id}\n`);
  else
    toStdout(
      renderTable(
        ["CONTAINER", "IMAGE", "RUNTIME"],
        all.map((c) => [c.id, c.image === "" ? "-" : c.image, c.runtime.name]),
        4,
      ),
    );
  return 0;
};

export const label: Action = async (context, args) => {
  await using transport = context.connect();
  const containers = containersClient(transport);
  const call = context.call();
  const container = await containers.get(call, need(args, 0, "container id"));
  const labels = labelsOf(args.slice(1));
  const next = await containers.update(
    call,
    { ...container, labels },
    [...labels.keys()].map((k) => `labels.${k}`),
  );
  toStdout(`${formatLabels(next.labels, "")}\n`);
  return 0;
};
