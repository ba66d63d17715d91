/**
 * A snapshotter in one file: every snapshot is a folder, a child starts as a full copy of its parent. What it knows is one
 * JSON file, written whole after each change. Its `remote` folder shows how a lazy-pulling snapshotter answers.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { cp, lstat, mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Labels } from "../../../src/core/any.ts";
import {
  alreadyExists,
  failedPrecondition,
  internal,
  invalidArgument,
  notFound,
} from "../../../src/core/errors.ts";
import { maskLabels } from "../../../src/core/fieldmask.ts";
import { adaptSnapshot } from "../../../src/core/filters/adaptors.ts";
import { compileFilters } from "../../../src/core/filters/filter.ts";
import type { Mount } from "../../../src/core/mounts/mount.ts";
import type {
  SnapshotInfo,
  SnapshotKind,
  Snapshotter,
  Usage,
} from "../../../src/core/snapshots/snapshotter.ts";
import { nowNs } from "../../../src/lib/time.ts";

/** A client that prepares a layer says here which committed snapshot it is after. */
const TARGET_REF = "containerd.io/snapshot.ref";

interface Known extends SnapshotInfo {
  /** Folder below `snapshots`. */
  readonly folder: number;
}

/** See the file's comment. */
export class CopyingSnapshotter implements Snapshotter {
  readonly #root: string;
  /** Folder with ready layers, named by what follows the last colon of the target. */
  readonly #remote: string | undefined;
  readonly #known = new Map<string, Known>();
  #last = 0;

  constructor(root: string, remote?: string) {
    this.#root = root;
    this.#remote = remote;
    mkdirSync(join(root, "snapshots"), { recursive: true, mode: 0o700 });
    if (readdirSync(root).includes("state.json")) this.#load();
  }

  async stat(_call: unknown, key: string): Promise<SnapshotInfo> {
    return this.#find(key);
  }

  async update(
    _call: unknown,
    name: string,
    labels: Labels,
    fields: readonly string[],
  ): Promise<SnapshotInfo> {
    const old = this.#find(name);
    const next = { ...old, labels: maskLabels(old.labels, labels, fields), updatedAt: nowNs() };
    this.#known.set(name, next);
    this.#save();
    return next;
  }

  async usage(_call: unknown, key: string): Promise<Usage> {
    return await measure(this.#path(this.#find(key)));
  }

  async mounts(_call: unknown, key: string): Promise<Mount[]> {
    const known = this.#find(key);
    if (known.kind === "committed") throw failedPrecondition(`snapshot "${key}" is committed`);
    return this.#mounts(known);
  }

  async prepare(_call: unknown, key: string, parent: string, labels: Labels): Promise<Mount[]> {
    const target = labels.get(TARGET_REF);
    if (target !== undefined && (await this.#takeReady(key, target, parent, labels)))
      throw alreadyExists(`target snapshot "${target}"`);
    return this.#mounts(await this.#make("active", key, parent, labels));
  }

  async view(_call: unknown, key: string, parent: string, labels: Labels): Promise<Mount[]> {
    return this.#mounts(await this.#make("view", key, parent, labels));
  }

  async commit(_call: unknown, name: string, key: string, labels: Labels): Promise<void> {
    const known = this.#find(key);
    if (known.kind !== "active") throw failedPrecondition(`snapshot "${key}" is not active`);
    if (this.#known.has(name)) throw alreadyExists(`snapshot "${name}"`);
    await run("sync", ["-f", this.#path(known)]);
    this.#known.delete(key);
    this.#known.set(name, { ...known, kind: "committed", name, labels, updatedAt: nowNs() });
    this.#save();
  }

  async remove(_call: unknown, key: string): Promise<void> {
    const known = this.#find(key);
    if ([...this.#known.values()].some((other) => other.parent === key))
      throw failedPrecondition("cannot remove snapshot with child");
    this.#known.delete(key);
    this.#save();
    await rm(this.#path(known), { recursive: true, force: true });
  }

  async *walk(_call: unknown, filters: readonly string[]): AsyncGenerator<SnapshotInfo, void, undefined> {
    const match = compileFilters(filters);
    for (const known of [...this.#known.values()]) if (match(adaptSnapshot(known))) yield known;
  }

  /** Removes folders that belong to nothing. */
  async cleanup(): Promise<void> {
    const used = new Set([...this.#known.values()].map((known) => String(known.folder)));
    for (const name of await readdir(join(this.#root, "snapshots")))
      if (!used.has(name) && Number(name) <= this.#last)
        await rm(join(this.#root, "snapshots", name), { recursive: true, force: true });
  }

  async #make(
    kind: Exclude<SnapshotKind, "committed">,
    key: string,
    parent: string,
    labels: Labels,
  ): Promise<Known> {
    if (key === "") throw invalidArgument("key must not be empty");
    if (this.#known.has(key)) throw alreadyExists(`snapshot "${key}"`);
    const base = parent === "" ? undefined : this.#find(parent);
    if (base !== undefined && base.kind !== "committed")
      throw invalidArgument(`parent "${parent}" is not committed`);
    const now = nowNs();
    const known = { kind, name: key, parent, labels, createdAt: now, updatedAt: now, folder: ++this.#last };
    this.#known.set(key, known);
    try {
      if (base === undefined) await mkdir(this.#path(known), { mode: 0o755 });
      else await run("cp", ["-a", "--reflink=auto", this.#path(base), this.#path(known)]);
      this.#save();
    } catch (err) {
      this.#known.delete(key);
      await rm(this.#path(known), { recursive: true, force: true });
      throw err;
    }
    return known;
  }

  /**
   * Commits a ready layer under a name of its own, with the target in its labels: the engine looks for exactly this when
   * prepare answers already-exists, and then never downloads the layer.
   */
  async #takeReady(key: string, target: string, parent: string, labels: Labels): Promise<boolean> {
    const ready = join(this.#remote ?? "/nonexistent", target.slice(target.lastIndexOf(":") + 1));
    if (this.#remote === undefined || (await stat(ready).catch(() => undefined)) === undefined) return false;
    const active = await this.#make("active", key, parent, labels);
    await cp(ready, this.#path(active), { recursive: true, force: true });
    await this.commit(undefined, `ready/${key}`, key, labels);
    return true;
  }

  #mounts(known: Known): Mount[] {
    const options = [known.kind === "active" ? "rw" : "ro", "rbind"];
    return [{ type: "bind", source: this.#path(known), target: "", options }];
  }

  #find(key: string): Known {
    const known = this.#known.get(key);
    if (known === undefined) throw notFound(`snapshot ${key} does not exist`);
    return known;
  }

  #path(known: { readonly folder: number }): string {
    return join(this.#root, "snapshots", String(known.folder));
  }

  #save(): void {
    const list = [...this.#known.values()].map((known) => ({
      ...known,
      labels: Object.fromEntries(known.labels),
      createdAt: String(known.createdAt),
      updatedAt: String(known.updatedAt),
    }));
    const path = join(this.#root, "state.json");
    writeFileSync(`${path}.new`, JSON.stringify({ last: this.#last, list }), { flush: true });
    renameSync(`${path}.new`, path);
  }

  #load(): void {
    const state = JSON.parse(readFileSync(join(this.#root, "state.json"), "utf8")) as {
      last: number;
      list: (Omit<Known, "labels" | "createdAt" | "updatedAt"> & {
        labels: Record<string, string>;
        createdAt: string;
        updatedAt: string;
      })[];
    };
    this.#last = state.last;
    for (const item of state.list)
      this.#known.set(item.name, {
        ...item,
        labels: new Map(Object.entries(item.labels)),
        createdAt: BigInt(item.createdAt),
        updatedAt: BigInt(item.updatedAt),
      });
  }
}

/** Files and bytes on disk below `path`, itself included. */
async function measure(path: string): Promise<Usage> {
  const own = await lstat(path);
  let inodes = 1n;
  let size = BigInt(own.blocks) * 512n;
  if (!own.isDirectory()) return { inodes, size };
  for (const name of await readdir(path)) {
    const below = await measure(join(path, name));
    inodes += below.inodes;
    size += below.size;
  }
  return { inodes, size };
}

/** Runs a program. @throws internal with what it said */
function run(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (data: Buffer) => {
      said += data.toString();
    });
    child.once("error", reject);
    child.once("close", (code) =>
      code === 0 ? resolve() : reject(internal(`${program} ended with code ${code}: ${said.trim()}`)),
    );
  });
}
