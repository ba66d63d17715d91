/** The mount manager: carries out the mounts that others refer to, below a folder of its own, and remembers them in files. */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Labels } from "../../core/any.ts";
import type { Call, NamespacedCall } from "../../core/call.ts";
import { alreadyExists, invalidArgument, notFound, notImplemented, wrap } from "../../core/errors.ts";
import { checkFields, maskLabels } from "../../core/fieldmask.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { checkLabels } from "../../core/labels.ts";
import type { Logger } from "../../core/log.ts";
import {
  type ActivateRequest,
  type Activation,
  type ActiveMount,
  type MountManager,
  type ParsedMount,
  parseTransformers,
} from "../../core/mounts/activation.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { nowNs } from "../../lib/time.ts";
import { writeFileAtomic } from "../../platform/fs/atomic-write.ts";
import { HANDLED, ignoreMissing, mountAt, takeDownAt } from "./handlers.ts";
import { isKept, type TieStores } from "./ties.ts";
import { transform } from "./transform.ts";

/** What a failed activation may take to undo. Milliseconds. */
const CLEANUP_MS = 30_000;
/** What one left by an earlier daemon may take at the start. Milliseconds. */
const LEFT_MS = 5_000;

/** What is on disk of an activation: written before anything is mounted, and again when all is. */
interface Stored {
  readonly namespace: string;
  readonly name: string;
  readonly labels: readonly (readonly [string, string])[];
  readonly temporary: boolean;
  /** It was made under this lease, and goes with it. */
  readonly lease?: string | undefined;
  /** False while it is being made: taken down at the next start. */
  readonly done: boolean;
  readonly active: readonly {
    readonly mount: Mount;
    readonly mountedAt: string;
    readonly mountPoint: string;
  }[];
  readonly system: readonly Mount[];
}

/** See the file's comment. */
export class FileMountManager implements MountManager {
  readonly #dir: string;
  readonly #log: Logger;
  readonly #locks = new KeyedMutex();
  readonly #records = new Map<string, Stored>();

  /** @param dir folder that does not outlive a reboot: mounts do not either */
  constructor(dir: string, log: Logger) {
    this.#dir = dir;
    this.#log = log;
  }

  /** Activations now. */
  get size(): number {
    return this.#records.size;
  }

  /** Reads what an earlier daemon left; takes down what was temporary or half made. */
  async load(call: Call): Promise<void> {
    await mkdir(join(this.#dir, "records"), { recursive: true, mode: 0o700 });
    await mkdir(join(this.#dir, "t"), { recursive: true, mode: 0o700 });
    for (const file of await readdir(join(this.#dir, "records"))) {
      if (!file.endsWith(".json")) continue;
      try {
        const record = JSON.parse(await readFile(join(this.#dir, "records", file), "utf8")) as Stored;
        const key = keyOf(record.namespace, record.name);
        if (record.done && !record.temporary) this.#records.set(key, record);
        else await this.#takeDown(call.within(LEFT_MS), key, record);
      } catch (err) {
        this.#log.error("record of mounts is not readable, or they cannot be taken down", { file, err });
      }
    }
    // of activations that ended before their record
    for (const key of await readdir(join(this.#dir, "t")))
      if (!this.#records.has(key)) await rmdir(join(this.#dir, "t", key)).catch(() => {});
  }

  async activate(call: NamespacedCall, request: ActivateRequest): Promise<Activation> {
    const { name, labels, temporary } = request;
    if (name === "") throw invalidArgument("activate mounts: a name is required");
    checkLabels(labels);
    const parsed = request.mounts.map(parseTransformers);
    const first = firstForOthers(parsed, temporary);
    const key = keyOf(call.namespace, name);
    using _lock = await this.#locks.acquire(key, call.signal);
    if (this.#records.has(key)) throw alreadyExists(`mount activation "${name}"`);
    const base = { namespace: call.namespace, name, labels: [...labels], temporary, lease: call.lease };
    const points = parsed.slice(0, first).map((_p, i) => join(this.#place(key), String(i)));
    const planned = points.map((mountPoint, i) => ({
      mount: parsed[i]?.mount ?? EMPTY,
      mountedAt: "0",
      mountPoint,
    }));
    const active: ActiveMount[] = [];
    try {
      await mkdir(this.#place(key), { recursive: true, mode: 0o700 });
      for (const [i, mountPoint] of points.entries()) {
        const item = parsed[i];
        if (item === undefined) continue;
        const mount = await transform(call, item, active);
        planned[i] = { mount, mountedAt: "0", mountPoint };
        await this.#write(key, { ...base, done: false, active: planned, system: [] });
        await mountAt(call, mount, mountPoint);
        active.push({ mount, mountPoint, mountedAt: nowNs(), data: new Map() });
      }
      const system: Mount[] = [];
      for (const item of parsed.slice(first)) system.push(await transform(call, item, active));
      const whole = temporary ? points.at(-1) : undefined;
      if (whole !== undefined) system.push({ ...EMPTY, type: "bind", source: whole, options: ["rbind"] });
      const record: Stored = {
        ...base,
        done: true,
        active: active.map(({ mount, mountPoint, mountedAt }) => ({
          mount,
          mountPoint,
          mountedAt: String(mountedAt),
        })),
        system,
      };
      await this.#write(key, record);
      this.#records.set(key, record);
      return toActivation(record);
    } catch (err) {
      await this.#takeDown(call.detached(CLEANUP_MS), key, {
        ...base,
        done: false,
        active: planned,
        system: [],
      });
      throw wrap(err, `activate mounts "${name}"`);
    }
  }

  async deactivate(call: NamespacedCall, name: string): Promise<void> {
    const key = keyOf(call.namespace, name);
    using _lock = await this.#locks.acquire(key, call.signal);
    await this.#takeDown(call, key, this.#find(call, name));
    this.#records.delete(key);
  }

  async update(
    call: NamespacedCall,
    name: string,
    labels: Labels,
    fields: readonly string[],
  ): Promise<Activation> {
    checkFields(fields, ["labels"], ["labels."], `mount activation "${name}"`);
    const key = keyOf(call.namespace, name);
    using _lock = await this.#locks.acquire(key, call.signal);
    const old = this.#find(call, name);
    const next = maskLabels(new Map(old.labels), labels, fields);
    checkLabels(next);
    const record = { ...old, labels: [...next] };
    await this.#write(key, record);
    this.#records.set(key, record);
    return toActivation(record);
  }

  /** Takes down every activation whose last tie is gone. @returns how many */
  async collect(call: Call, stores: TieStores): Promise<number> {
    let count = 0;
    for (const [key, record] of [...this.#records]) {
      const within = call.in(parseNamespace(record.namespace));
      if (await isKept(within, stores, new Map(record.labels), record.lease)) continue;
      using _lock = await this.#locks.acquire(key);
      // labels may have been changed meanwhile: the next round decides
      if (this.#records.get(key) !== record) continue;
      await this.#takeDown(within, key, record);
      this.#records.delete(key);
      this.#log.info("took down mounts that nothing keeps", { name: record.name });
      count++;
    }
    return count;
  }

  async info(call: NamespacedCall, name: string): Promise<Activation> {
    return toActivation(this.#find(call, name));
  }

  async list(call: NamespacedCall, filters: readonly string[]): Promise<Activation[]> {
    const match = compileFilters(filters);
    return [...this.#records.values()]
      .filter((r) => r.namespace === call.namespace)
      .map(toActivation)
      .filter((a) =>
        match(([field, ...rest]) => {
          const value = field === "name" ? a.name : a.labels.get(rest.join("."));
          const known = field === "name" || field === "labels";
          return { value: value ?? "", present: known && value !== undefined };
        }),
      )
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #find(call: NamespacedCall, name: string): Stored {
    const record = this.#records.get(keyOf(call.namespace, name));
    if (record === undefined) throw notFound(`mount activation "${name}"`);
    return record;
  }

  #place(key: string): string {
    return join(this.#dir, "t", key);
  }

  async #write(key: string, record: Stored): Promise<void> {
    // a crash of the machine takes the mounts along: nothing to sync
    const path = join(this.#dir, "records", `${key}.json`);
    await writeFileAtomic(path, JSON.stringify(record), { mode: 0o600, durable: false });
  }

  /** The last mount first; the record goes when nothing of it is left. */
  async #takeDown(call: Call, key: string, record: Stored): Promise<void> {
    for (const { mount, mountPoint } of [...record.active].reverse())
      await takeDownAt(call, mount, mountPoint);
    await rmdir(this.#place(key)).catch(ignoreMissing);
    await unlink(join(this.#dir, "records", `${key}.json`)).catch(ignoreMissing);
  }
}

const EMPTY: Mount = { type: "", source: "", target: "", options: [] };

/**
 * Index of the first mount that is left to the caller: one that is formatted needs those before it mounted, one of a handled
 * type or of a temporary activation is the manager's own.
 * @throws not-implemented in containerd's sense: mount them yourself
 */
function firstForOthers(parsed: readonly ParsedMount[], temporary: boolean): number {
  let first = -1;
  for (const [i, { transformers, mount }] of parsed.entries()) {
    if (transformers.length > 0) first = i;
    if (temporary || HANDLED.has(mount.type)) first = i + 1;
  }
  if (first < 0) throw notImplemented("activate mounts: no mount needs the mount manager");
  return first;
}

function toActivation(record: Stored): Activation {
  return {
    name: record.name,
    labels: new Map(record.labels),
    system: record.system,
    active: record.active.map((a) => ({ ...a, mountedAt: BigInt(a.mountedAt), data: new Map() })),
  };
}

/** Names are any text: the file is named by a digest. */
function keyOf(namespace: string, name: string): string {
  return createHash("sha256").update(`${namespace}\0${name}`).digest("hex").slice(0, 40);
}
