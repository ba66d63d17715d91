/** leases list, create, delete. */

import { leasesClient } from "../../../client/leases.ts";
import { isNotFound } from "../../../core/errors.ts";
import { formatRfc3339, nowNs } from "../../../lib/time.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { durationMs, labelsOf, need, textOf } from "../context.ts";
import { formatLabels, renderTable } from "../table.ts";

export const list: Action = async (context, args, options) => {
  await using transport = context.connect();
  const all = await leasesClient(transport).list(context.call(), args);
  if (options["quiet"] === true) for (const l of all) toStdout(`${l.id}\n`);
  else {
    const rows = all.map((l) => [
      l.id,
      formatRfc3339(l.createdAt - (l.createdAt % 1_000_000_000n)),
      formatLabels(l.labels),
    ]);
    toStdout(renderTable(["ID", "CREATED AT", "LABELS"], rows));
  }
  return 0;
};

export const create: Action = async (context, args, options) => {
  await using transport = context.connect();
  const labels = labelsOf(args);
  const ms = durationMs(textOf(options, "expires") || "0s");
  if (ms > 0) labels.set("containerd.io/gc.expire", formatRfc3339(nowNs() + BigInt(ms) * 1_000_000n));
  const lease = await leasesClient(transport).create(context.call(), textOf(options, "id"), labels);
  toStdout(`${lease.id}\n`);
  return 0;
};

export const remove: Action = async (context, args, options) => {
  await using transport = context.connect();
  need(args, 0, "lease id");
  let code = 0;
  for (const [i, id] of args.entries()) {
    try {
      // only the last one waits for the collection
      await leasesClient(transport).delete(
        context.call(),
        id,
        options["sync"] === true && i === args.length - 1,
      );
      toStdout(`${id}\n`);
    } catch (err) {
      if (!isNotFound(err)) throw err;
      toStderr(`ctr: lease "${id}": not found\n`);
      code = 1;
    }
  }
  return code;
};
