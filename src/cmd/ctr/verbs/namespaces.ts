/** namespaces create, list, remove, label. */

import { rmdirSync } from "node:fs";
import { namespacesClient } from "../../../client/namespaces.ts";
import { isNotFound, messageOf } from "../../../core/errors.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { labelsOf, need } from "../context.ts";
import { formatLabels, renderTable } from "../table.ts";

export const create: Action = async (context, args) => {
  await using transport = context.connect();
  await namespacesClient(transport).create(
    context.call(),
    need(args, 0, "namespace"),
    labelsOf(args.slice(1)),
  );
  return 0;
};

export const list: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const all = await namespacesClient(transport).list(context.call());
  if (options["quiet"] === true) for (const n of all) toStdout(`${n.name}\n`);
  else
    toStdout(
      renderTable(
        ["NAME", "LABELS"],
        all.map((n) => [n.name, formatLabels(n.labels, "")]),
      ),
    );
  return 0;
};

export const remove: Action = async (context, args, options) => {
  await using transport = context.connect();
  const store = namespacesClient(transport);
  need(args, 0, "namespace");
  let code = 0;
  for (const name of args) {
    try {
      await store.delete(context.call(), name);
      if (options["cgroup"] === true) removeCgroup(name);
      toStdout(`${name}\n`);
    } catch (err) {
      toStderr(`ctr: unable to delete ${name}: ${messageOf(err)}\n`);
      // containerd's client takes one that is gone as removed: scripts rely on it
      if (!isNotFound(err)) code = 1;
    }
  }
  return code;
};

/** The namespace's own cgroup in each hierarchy; must be empty. */
function removeCgroup(name: string): void {
  for (const base of [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/cpu",
    "/sys/fs/cgroup/memory",
    "/sys/fs/cgroup/pids",
  ]) {
    try {
      rmdirSync(`${base}/${name}`);
    } catch {
      // this hierarchy has none
    }
  }
}

export const label: Action = async (context, args) => {
  await using transport = context.connect();
  const name = need(args, 0, "namespace");
  const labels = labelsOf(args.slice(1));
  await namespacesClient(transport).update(
    context.call(),
    name,
    labels,
    [...labels.keys()].map((k) => `labels.${k}`),
  );
  return 0;
};
