/**
 * Bundles: one folder per task in the state folder, which is all a restarted daemon needs to find its shim again.
 *
 *     STATE/NS/ID/{config.json,rootfs/,log,bootstrap.json}
 *
 * and for shims that are not ours also work -> ROOT/NS/ID, shim-binary-path and stdio.json. Ours need less, and get less: a pod is
 * two bundles, and to make a file is a good part of what a bundle costs.
 */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { chmod, mkdir, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf, notImplemented } from "../../core/errors.ts";
import { checkIdentifier } from "../../core/ids/namespace.ts";
import type { Stdio } from "../../core/tasks/tasks.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import { spreadFolders } from "../../platform/fs/spread.ts";
import { unmountTree } from "../../platform/mounts/mounts.ts";

/** Of a task that has no streams, or of which nothing is known. */
export const NO_STDIO: Stdio = { stdin: "", stdout: "", stderr: "", terminal: false };

/** Where a shim listens and what it speaks. */
export interface ShimAddress {
  /** Task API version: 2 or 3. */
  readonly version: number;
  /** unix path, without scheme. */
  readonly address: string;
  /** `ttrpc`. */
  readonly protocol: string;
}

/** A task's folder. */
export interface Bundle {
  readonly namespace: string;
  readonly id: string;
  readonly path: string;
  readonly work: string;
}

/** Names the bundle of a task. */
export function bundleOf(state: string, root: string, namespace: string, id: string): Bundle {
  return { namespace, id, path: join(state, namespace, id), work: join(root, namespace, id) };
}

/** What a bundle is made for. */
export interface BundleUse {
  /** The container's root is another user. */
  readonly remapped: boolean;
  /** Its shim is this executable. */
  readonly own: boolean;
}

/** Namespaces whose folder was seen to. */
const spread = new Set<string>();

/**
 * Makes a bundle. What an earlier, failed task of the same id left is removed first.
 * @throws invalid-argument for an id that is no identifier: it could name any folder of the machine
 */
export async function createBundle(
  bundle: Bundle,
  spec: Uint8Array,
  { remapped, own }: BundleUse,
): Promise<void> {
  checkIdentifier(bundle.id);
  if (existsSync(bundle.path)) await deleteBundle(bundle);
  const namespace = dirname(bundle.path);
  if (!spread.has(namespace)) {
    mkdirSync(namespace, { recursive: true, mode: 0o700 });
    spreadFolders(namespace);
    spread.add(namespace);
  }
  // 0711 lets a remapped root reach its rootfs, and nobody list the folder (S40)
  // the state folder is in memory, so its calls do not wait; the root folder is on a disk
  mkdirSync(bundle.path, { recursive: true, mode: 0o700 });
  try {
    await fillBundle(bundle, spec, { remapped, own });
  } catch (err) {
    // why it could not be made says more than why it could not be removed
    await deleteBundle(bundle).catch(() => {});
    throw err;
  }
}

async function fillBundle(bundle: Bundle, spec: Uint8Array, { remapped, own }: BundleUse): Promise<void> {
  const namespace = dirname(bundle.path);
  if (remapped) {
    for (const dir of [dirname(namespace), namespace, bundle.path]) await chmod(dir, 0o711);
  }
  const work = own ? undefined : makeWork(bundle);
  try {
    mkdirSync(join(bundle.path, "rootfs"), { mode: 0o711 });
    if (!own) symlinkSync(bundle.work, join(bundle.path, "work"));
    if (spec.length > 0) writeFileSync(join(bundle.path, "config.json"), spec, { mode: 0o600 });
  } finally {
    await work;
  }
}

/** Makes the part of a bundle that is on a disk, when it is missing. */
export async function makeWork(bundle: Bundle): Promise<void> {
  await mkdir(bundle.work, { recursive: true, mode: 0o711 });
}

/** Unmounts and removes a bundle. */
export async function deleteBundle(bundle: Bundle): Promise<void> {
  await (await hideBundle(bundle)).removed();
}

let hiddenCount = 0;

/**
 * Unmounts a bundle and takes it out of sight, so that a half removed one is never taken for a task and its name is free.
 * @returns `removed` removes what is left of it; listBundles does it for a daemon that ended before
 */
export async function hideBundle(bundle: Bundle): Promise<{ removed: () => Promise<void> }> {
  // a folder that can be removed has nothing mounted: the common case, and cheaper than the list of all mounts
  const rootfs = join(bundle.path, "rootfs");
  try {
    rmdirSync(rootfs);
  } catch {
    // what stays mounted makes the removal fail, which tells it
    await unmountTree(rootfs).catch(() => {});
  }
  await removeTree(bundle.work);
  const hidden = join(bundle.path, "..", `.${bundle.id}.${process.pid}-${++hiddenCount}`);
  try {
    renameSync(bundle.path, hidden);
  } catch (err) {
    // one that cannot be hidden is removed where it is
    if (!messageOf(err).includes("ENOENT")) await removeTree(bundle.path);
  }
  return { removed: () => removeHidden(hidden) };
}

/** When what could not be removed is tried again, in milliseconds from then. After the last it is for the next start of the daemon. */
const AGAIN_MS = [500, 10_000, 60_000];

/** @throws why it stays for now */
async function removeHidden(path: string, turn = 0): Promise<void> {
  try {
    await removeTree(path);
  } catch (err) {
    const pause = AGAIN_MS[turn];
    if (pause !== undefined)
      setTimeout(() => void removeHidden(path, turn + 1).catch(() => {}), pause).unref();
    throw err;
  }
}

/** What is kept beside the address. */
export interface Kept {
  /** The sandbox in whose shim the task runs, "" for none. */
  readonly sandbox?: string;
  /** What the streams of init are: a shim that was killed cannot tell. */
  readonly stdio?: Stdio;
}

/** Keeps where the shim listens, and what else a daemon must know of it. Not made durable: no shim outlives the machine. */
export function writeAddress(bundle: Bundle, address: ShimAddress, shimPath: string, kept: Kept = {}): void {
  if (isShimName(shimPath)) writeFileSync(join(bundle.path, "shim-binary-path"), shimPath, { mode: 0o600 });
  const path = join(bundle.path, "bootstrap.json");
  const { sandbox = "", stdio = NO_STDIO } = kept;
  const text = JSON.stringify({
    ...address,
    address: `unix://${address.address}`,
    ...(sandbox === "" ? {} : { sandbox }),
    ...(hasStreams(stdio) ? { stdio: only(stdio) } : {}),
  });
  writeFileSync(`${path}.tmp`, text, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** The sandbox whose shim runs the task; undefined when it has another. */
export function sandboxOf(bundle: Bundle): string | undefined {
  return readKept(bundle)?.sandbox ?? readIfThere(join(bundle.path, "sandbox"));
}

/** The program of the shim, when it is a shim of its own (not this executable) and still there. */
export function shimPathOf(bundle: Bundle): string | undefined {
  try {
    const path = readFileSync(join(bundle.path, "shim-binary-path"), "utf8").trim();
    return isShimName(path) && existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Not this executable, which finds itself. */
function isShimName(path: string): boolean {
  return basename(path).startsWith("containerd-shim-");
}

/** An address as sandboxes tell it: a scheme, with the protocol in front. @throws not-implemented */
export function sandboxAddress(text: string, version: number): ShimAddress {
  const path = /^(?:ttrpc\+)?(?:unix:\/\/)?(\/.*)$/.exec(text)?.[1];
  if (path === undefined)
    throw notImplemented(`task API address "${text}": only ttrpc over unix sockets is spoken`);
  return { version: version === 0 ? 2 : version, address: path, protocol: "ttrpc" };
}

/** Reads it back: bootstrap.json, or the bare `address` of old shims. Undefined when there is neither. */
export function readAddress(bundle: Bundle): ShimAddress | undefined {
  try {
    return parseAddress(readFileSync(join(bundle.path, "bootstrap.json"), "utf8"));
  } catch {
    try {
      return parseAddress(readFileSync(join(bundle.path, "address"), "utf8"));
    } catch {
      return undefined;
    }
  }
}

/** The init process as the OCI runtime wrote it down; 0 when it did not. */
export function readPid(bundle: Bundle): number {
  try {
    return Number.parseInt(readFileSync(join(bundle.path, "init.pid"), "utf8"), 10) || 0;
  } catch {
    return 0;
  }
}

/** Keeps the streams of init before there is an address: for shims that are not ours, which may take long to start. */
export function writeStdio(bundle: Bundle, stdio: Stdio): void {
  if (hasStreams(stdio)) writeFileSync(join(bundle.path, "stdio.json"), JSON.stringify(only(stdio)));
}

/** The streams of init as they were kept; none when nothing was. */
export function readStdio(bundle: Bundle): Stdio {
  const kept = readKept(bundle)?.stdio;
  if (kept !== undefined) return { ...NO_STDIO, ...kept };
  try {
    const text = readFileSync(join(bundle.path, "stdio.json"), "utf8");
    return { ...NO_STDIO, ...(JSON.parse(text) as Partial<Stdio>) };
  } catch {
    return NO_STDIO;
  }
}

function hasStreams({ stdin, stdout, stderr }: Stdio): boolean {
  return `${stdin}${stdout}${stderr}` !== "";
}

/** Without what else a request has. */
function only({ stdin, stdout, stderr, terminal }: Stdio): Stdio {
  return { stdin, stdout, stderr, terminal };
}

function readKept(bundle: Bundle): Kept | undefined {
  try {
    return JSON.parse(readFileSync(join(bundle.path, "bootstrap.json"), "utf8")) as Kept;
  } catch {
    return undefined;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8") || undefined;
  } catch {
    return undefined;
  }
}

/** Parses JSON or a bare address. @throws Error for other schemes than unix */
export function parseAddress(text: string): ShimAddress {
  const trimmed = text.trim();
  const given = trimmed.startsWith("{")
    ? (JSON.parse(trimmed) as { version?: number; address?: string; protocol?: string })
    : { address: trimmed };
  const address = given.address ?? "";
  if (!/^(unix:\/\/)?\//.test(address))
    throw new Error(`shim address "${address}": only unix sockets are spoken`);
  return {
    version: given.version ?? 2,
    address: address.replace(/^unix:\/\//, ""),
    protocol: given.protocol ?? "ttrpc",
  };
}

/** Every bundle below the state folder. Half removed ones are finished off. */
export async function listBundles(state: string, root: string): Promise<Bundle[]> {
  const out: Bundle[] = [];
  for (const namespace of await names(state)) {
    for (const id of await names(join(state, namespace))) {
      // one that cannot be removed now is nobody's task: the next start tries again
      if (id.startsWith(".")) await removeTree(join(state, namespace, id)).catch(() => {});
      else out.push(bundleOf(state, root, namespace, id));
    }
  }
  return out;
}

async function names(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  return entries.filter((e) => e.isDirectory()).map((e) => e.name);
}
