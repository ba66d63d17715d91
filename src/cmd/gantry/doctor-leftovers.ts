/** What earlier containers may have left: things of the host that no record of the daemon explains. */
import { existsSync, readdirSync, readlinkSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../core/errors.ts";
import { nowNs } from "../../lib/time.ts";
import { unpackSpec } from "../../oci/spec/json.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { readMountInfo } from "../../platform/mounts/mountinfo.ts";
import { deleteNetns, isPinned } from "../../platform/net/netns.ts";
import { allPids } from "../../platform/process/proc.ts";
import { MNT_DETACH } from "../../platform/syscalls/constants.ts";
import { umount2 } from "../../platform/syscalls/mount.ts";
import { leftLoops } from "./doctor-loops.ts";
import type { DoctorContext, Finding } from "./finding.ts";
import type { Inventory } from "./inventory.ts";

/** Where pods' and everyday containers' network namespaces are pinned; only names that we make are looked at. */
const NETNS_DIRS = ["/run/netns", "/var/run/netns"];
const OUR_NETNS = /^(cni-[0-9a-f]{32}|gantry-[0-9a-f]{32}|ctr-[0-9a-f]{16})$/;
/** `cni-` and eight digits of the daemon that made it. */
const SPARE_PREFIX = 12;
/** A snapshot somebody makes right now is not left over. Nanoseconds. */
const YOUNG_NS = 3_600_000_000_000n;
/** Folder of tasks below the state folder. */
const TASKS = "io.containerd.runtime.v2.task";

/** Finds what belongs to nothing. */
export async function leftovers(inventory: Inventory, context: DoctorContext): Promise<Finding[]> {
  const known = new Set(
    inventory.namespaces.flatMap((ns) => ns.containers.map((c) => `${ns.call.namespace}/${c.id}`)),
  );
  return [
    ...bundles(context, known),
    ...mounts(context, known),
    ...leftLoops(context),
    ...networkNamespaces(inventory),
    ...snapshots(inventory),
  ];
}

/** Folders of tasks whose container has no record: shims that were killed together with the daemon leave them. */
function bundles(context: DoctorContext, known: ReadonlySet<string>): Finding[] {
  const root = join(context.state, TASKS);
  const out: Finding[] = [];
  for (const ns of list(root)) {
    for (const id of list(join(root, ns))) {
      if (id.startsWith(".") || known.has(`${ns}/${id}`)) continue;
      const path = join(root, ns, id);
      out.push({
        check: "tasks",
        level: "problem",
        text: `folder "${path}" belongs to no container`,
        next: "a restart of the daemon sweeps it, or --repair",
        repair: () => {
          for (const m of readMountInfo()
            .filter((m) => `${m.target}/`.startsWith(`${path}/`))
            .reverse())
            umount2(m.target, MNT_DETACH);
          rmSync(path, { recursive: true, force: true });
        },
      });
    }
  }
  return out.length > 0
    ? out
    : [{ check: "tasks", level: "ok", text: "every task folder has its container" }];
}

function mounts(context: DoctorContext, known: ReadonlySet<string>): Finding[] {
  const below = `${join(context.state, TASKS)}/`;
  const temporary = `${join(context.root, "tmpmounts")}/`;
  const out: Finding[] = [];
  let all: ReturnType<typeof readMountInfo>;
  try {
    all = readMountInfo();
  } catch (err) {
    return [{ check: "mounts", level: "warning", text: `cannot be read: ${messageOf(err)}` }];
  }
  for (const m of all) {
    const task = m.target.startsWith(below)
      ? m.target.slice(below.length).split("/").slice(0, 2).join("/")
      : undefined;
    // a folder without a container was told above with its mounts
    if (task !== undefined && !known.has(task) && !existsSync(join(below, task))) {
      out.push(leftMount(m.target, "belongs to no container"));
    } else if (m.target.startsWith(temporary) && age(m.target) > 3600) {
      out.push(leftMount(m.target, "is a temporary mount from more than an hour ago"));
    }
  }
  return out.length > 0
    ? out
    : [{ check: "mounts", level: "ok", text: `${all.length} mounts, none left over` }];
}

function leftMount(target: string, why: string): Finding {
  return {
    check: "mounts",
    level: "problem",
    text: `"${target}" ${why}`,
    next: `umount -l ${target}, or --repair`,
    repair: () => umount2(target, MNT_DETACH),
  };
}

/** Pinned namespaces that no process lives in and that no container's spec names. */
function networkNamespaces(inventory: Inventory): Finding[] {
  const named = new Set<string>();
  for (const ns of inventory.namespaces)
    for (const c of ns.containers) {
      const spec = specOf(c.spec);
      for (const n of spec?.linux?.namespaces ?? [])
        if (n.type === "network" && typeof n.path === "string")
          named.add(n.path.replace(/^\/var\/run\//, "/run/"));
      named.add(`/run/netns/gantry-${c.id.slice(0, 32)}`);
    }
  let lived: Set<string> | undefined;
  const unowned: { path: string; made: number }[] = [];
  for (const dir of new Set(
    NETNS_DIRS.filter((d) => existsSync(d)).map((d) => d.replace(/^\/var\/run/, "/run")),
  )) {
    for (const name of list(dir)) {
      const path = join(dir, name);
      if (!OUR_NETNS.test(name) || named.has(path)) continue;
      lived ??= livedIn();
      const { ino, ctimeMs } = statSync(path);
      if (!isPinned(path) || !lived.has(String(ino))) unowned.push({ path, made: ctimeMs });
    }
  }
  const out = withoutSpares(unowned).map(
    ({ path }): Finding => ({
      check: "network",
      level: "problem",
      text: `network namespace "${path}" belongs to no container, and no process lives in it`,
      next: "its address may be taken until CNI's DEL: gantry cni del, or --repair for the namespace alone",
      repair: () => deleteNetns(path),
    }),
  );
  return out.length > 0
    ? out
    : [{ check: "network", level: "ok", text: "every network namespace is in use" }];
}

/** The daemon keeps one namespace ready for the next pod: the newest of those whose names begin alike. */
function withoutSpares(unowned: readonly { path: string; made: number }[]): { path: string }[] {
  const spare = new Map<string, { path: string; made: number }>();
  const group = (path: string): string => path.slice(0, path.lastIndexOf("/") + 1 + SPARE_PREFIX);
  for (const u of unowned) {
    const known = spare.get(group(u.path));
    if (u.path.includes("/cni-") && (known === undefined || known.made < u.made)) spare.set(group(u.path), u);
  }
  return unowned.filter((u) => spare.get(group(u.path)) !== u);
}

/** Inodes of the network namespaces that processes live in. */
function livedIn(): Set<string> {
  const out = new Set<string>();
  for (const pid of allPids()) {
    try {
      out.add(/\d+/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[0] ?? "");
    } catch {
      // ended meanwhile
    }
  }
  return out;
}

/** Active snapshots that no container has and no lease holds. */
function snapshots(inventory: Inventory): Finding[] {
  const out: Finding[] = [];
  for (const ns of inventory.namespaces) {
    const used = new Set(ns.containers.map((c) => `${c.snapshotter}/${c.snapshotKey}`));
    const leased = new Set(ns.leases.flatMap((l) => l.resources.map((r) => `${r.type}/${r.id}`)));
    for (const [name, all] of ns.snapshots) {
      const old = all.filter(
        (s) =>
          s.kind === "active" &&
          !used.has(`${name}/${s.name}`) &&
          !leased.has(`snapshots/${name}/${s.name}`) &&
          nowNs() - s.updatedAt > YOUNG_NS,
      );
      for (const s of old)
        out.push({
          check: "snapshots",
          level: "warning",
          text: `snapshot "${s.name}" of ${name} in namespace "${ns.call.namespace}" is used by no container`,
          next: `if nobody knows it: ctr -n ${ns.call.namespace} snapshots --snapshotter ${name} rm ${s.name}`,
        });
    }
  }
  return out.length > 0
    ? out
    : [{ check: "snapshots", level: "ok", text: "every active snapshot is in use" }];
}

function specOf(any: Parameters<typeof unpackSpec>[0]): Spec | undefined {
  try {
    return unpackSpec(any);
  } catch {
    return undefined;
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Seconds since the folder was made; 0 when it cannot be told. */
function age(path: string): number {
  try {
    return (Date.now() - statSync(path).ctimeMs) / 1000;
  } catch {
    return 0;
  }
}
