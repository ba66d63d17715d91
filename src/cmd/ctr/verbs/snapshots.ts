/** snapshots commit, diff, info, list, mounts, prepare, delete, label, tree, unpack, usage, view. */

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contentClient } from "../../../client/content.ts";
import { diffClient } from "../../../client/diff.ts";
import { imagesClient } from "../../../client/images.ts";
import { snapshotterClient } from "../../../client/snapshots.ts";
import { withLease } from "../../../client/with-lease.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import { messageOf, notFound } from "../../../core/errors.ts";
import { parseDigest } from "../../../core/ids/digest.ts";
import type { Mount } from "../../../core/mounts/mount.ts";
import type { SnapshotInfo, Snapshotter } from "../../../core/snapshots/snapshotter.ts";
import { formatSize } from "../../../lib/human.ts";
import { formatRfc3339 } from "../../../lib/time.ts";
import { hostPlatform } from "../../../oci/platform.ts";
import type { Transport } from "../../../rpc/types.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { labelsOf, listOf, need, textOf } from "../context.ts";
import { resolveImage } from "../image-config.ts";
import { rootLabel, snapshotterName } from "../snapshotter-name.ts";
import { formatLabels, renderTable, toJson } from "../table.ts";
import { writeOut } from "../write-out.ts";

const capital = (kind: string): string => kind.slice(0, 1).toUpperCase() + kind.slice(1);

/** Snapshotter and call of a command. */
async function open(
  transport: Transport,
  call: NamespacedCall,
  options: Record<string, unknown>,
): Promise<Snapshotter> {
  return snapshotterClient(transport, await snapshotterName(transport, call, options));
}

async function all(snapshots: Snapshotter, call: NamespacedCall): Promise<SnapshotInfo[]> {
  const out: SnapshotInfo[] = [];
  for await (const info of snapshots.walk(call, [])) out.push(info);
  return out;
}

export const list: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const found = await all(await open(transport, call, options), call);
  const rows = found.map((s) => [s.name, s.parent, capital(s.kind)]);
  toStdout(renderTable(["KEY", "PARENT", "KIND"], rows));
  return 0;
};

export const info: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const s = await (await open(transport, call, options)).stat(call, need(args, 0, "snapshot key"));
  toStdout(
    toJson({
      Kind: capital(s.kind),
      Name: s.name,
      Parent: s.parent === "" ? undefined : s.parent,
      Labels: s.labels.size === 0 ? undefined : new Map([...s.labels].sort()),
      Created: formatRfc3339(s.createdAt),
      Updated: formatRfc3339(s.updatedAt),
    }),
  );
  return 0;
};

export const usage: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const snapshots = await open(transport, call, options);
  const keys = args.length > 0 ? args : (await all(snapshots, call)).map((s) => s.name);
  const rows: string[][] = [];
  for (const key of keys) {
    const used = await snapshots.usage(call, key);
    const size = options["b"] === true ? String(used.size) : formatSize(used.size);
    rows.push([key, size, String(used.inodes)]);
  }
  toStdout(renderTable(["KEY", "SIZE", "INODES"], rows));
  return 0;
};

export const commit: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const snapshots = await open(transport, call, options);
  await snapshots.commit(call, need(args, 0, "snapshot key"), need(args, 1, "active snapshot"), rootLabel());
  return 0;
};

/** One `mount` command for each mount. */
function mountCommands(target: string, mounts: readonly Mount[]): string {
  return mounts
    .map((m) => {
      const place = m.target === "" ? target : join(target, m.target);
      const o = m.options.length === 0 ? "" : ` -o ${m.options.join(",")}`;
      return `mount -t ${m.type} ${m.source} ${place}${o}\n`;
    })
    .join("");
}

function mountsJson(mounts: readonly Mount[]): string {
  return toJson(
    mounts.map((m) => ({ Type: m.type, Source: m.source, Target: m.target, Options: m.options })),
  );
}

export const mounts: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const snapshots = await open(transport, call, options);
  const target = need(args, 0, "mount target");
  const found = await snapshots.mounts(call, need(args, 1, "snapshot key"));
  if (options["temp"] === true) {
    const { mountAll } = await import("../../../platform/mounts/mounts.ts");
    const dir = mkdtempSync(join(tmpdir(), "ctr-mount-"));
    mountAll(found, dir);
    toStdout(`${dir}\n`);
    return 0;
  }
  toStdout(mountCommands(target, found));
  return 0;
};

const make =
  (method: "prepare" | "view"): Action =>
  async (context, args, options) => {
    await using transport = context.connect();
    const call = context.call();
    const snapshots = await open(transport, call, options);
    const made = await snapshots[method](call, need(args, 0, "snapshot key"), args[1] ?? "", rootLabel());
    const target = textOf(options, "target");
    if (target !== "") toStdout(mountCommands(target, made));
    if (options["mounts"] === true) toStdout(mountsJson(made));
    return 0;
  };

export const prepare = make("prepare");
export const view = make("view");

export const remove: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const snapshots = await open(transport, call, options);
  need(args, 0, "snapshot key");
  for (const key of args) {
    try {
      await snapshots.remove(call, key);
    } catch (err) {
      toStderr(`ctr: failed to remove "${key}": ${messageOf(err)}\n`);
      return 1;
    }
  }
  return 0;
};

export const label: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const snapshots = await open(transport, call, options);
  const name = need(args, 0, "snapshot key");
  const labels = labelsOf(args.slice(1));
  const fields = [...labels.keys()].map((k) => `labels.${k}`);
  const next =
    fields.length === 0
      ? await snapshots.stat(call, name)
      : await snapshots.update(call, name, labels, fields);
  toStdout(`${formatLabels(next.labels, "")}\n`);
  return 0;
};

export const tree: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const children = new Map<string, string[]>();
  for (const s of await all(await open(transport, call, options), call)) {
    const siblings = children.get(s.parent) ?? [];
    children.set(s.parent, [...siblings, s.name]);
  }
  const out: string[] = [];
  // a stack of its own: chains may be longer than the call stack likes
  const todo = (children.get("") ?? []).map((name) => ({ name, level: 0 })).reverse();
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const { name, level } = next;
    out.push(`${"  ".repeat(level)}${level > 0 ? "\\_" : ""} ${name}\n`);
    for (const child of (children.get(name) ?? []).reverse()) todo.push({ name: child, level: level + 1 });
  }
  toStdout(out.join(""));
  return 0;
};

export const unpack: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const digest = parseDigest(need(args, 0, "manifest digest"));
  const image = (await imagesClient(transport).list(call, [])).find((i) => i.target.digest === digest);
  if (image === undefined)
    throw notFound(`manifest ${digest}`, { hint: "give the digest of an image: see ctr images ls" });
  const { unpackImage } = await import("../unpack.ts");
  toStdout(`unpacking ${digest} (${image.target.mediaType})...`);
  try {
    const name = await snapshotterName(transport, call, options);
    const resolved = await resolveImage(contentClient(transport), call, image.target, hostPlatform());
    const syncFs = options["syncFs"] === true;
    // else a collection in between takes what nothing refers to yet
    await withLease(transport, call, (leased) => unpackImage(transport, leased, name, resolved, { syncFs }));
  } catch (err) {
    toStdout("\n");
    throw err;
  }
  toStdout("done\n");
  return 0;
};

export const diff: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const snapshots = await open(transport, call, options);
  const first = need(args, 0, "snapshot id");
  await withLease(transport, call, async (leased) => {
    const views: string[] = [];
    /** Mounts of a snapshot; of a committed one through a view, of "" through an empty view. */
    const mountsOf = async (key: string): Promise<readonly Mount[]> => {
      if (key !== "" && (await snapshots.stat(leased, key)).kind !== "committed")
        return snapshots.mounts(leased, key);
      const name = `ctr-diff-${process.pid}-${views.length}-${key}`;
      const made = await snapshots.view(leased, name, key, new Map());
      views.push(name);
      return made;
    };
    try {
      const [lower, upper] =
        args[1] === undefined ? [(await snapshots.stat(leased, first)).parent, first] : [first, args[1]];
      const labels = new Map(labelsOf(listOf(options, "label")));
      if (options["keep"] === true) for (const [k, v] of rootLabel()) labels.set(k, v);
      const ref = textOf(options, "ref");
      const made = await diffClient(transport).compare(leased, await mountsOf(lower), await mountsOf(upper), {
        mediaType: textOf(options, "mediaType"),
        labels,
        ...(ref === "" ? {} : { ref }),
      });
      await using reader = await contentClient(transport).reader(leased, made.digest);
      await writeOut(reader.stream());
    } finally {
      for (const name of views) await snapshots.remove(leased.detached(10_000), name).catch(() => {});
    }
  });
  return 0;
};
