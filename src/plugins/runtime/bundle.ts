/**
 * Bundles: one folder per task in the state folder, which is all a restarted daemon needs to find its shim again.
 *
 *     STATE/NS/ID/{config.json,rootfs/,work -> ROOT/NS/ID,log,bootstrap.json,shim-binary-path,runtime,stdio.json}
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
import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf, notImplemented } from "../../core/errors.ts";
import type { Stdio } from "../../core/tasks/tasks.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
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

/** Makes a bundle. What an earlier, failed task of the same id left is removed first. */
export async function createBundle(bundle: Bundle, spec: Uint8Array, remapped: boolean): Promise<void> {
  if (existsSync(bundle.path)) await deleteBundle(bundle);
  // 0711 lets a remapped root reach its rootfs, and nobody list the folder (S40)
  // the state folder is in memory, so its calls do not wait; the root folder is on a disk
  mkdirSync(bundle.path, { recursive: true, mode: 0o700 });
  if (remapped) {
    const namespace = dirname(bundle.path);
    for (const dir of [dirname(namespace), namespace, bundle.path]) await chmod(dir, 0o711);
  }
  const work = mkdir(bundle.work, { recursive: true, mode: 0o711 });
  try {
    mkdirSync(join(bundle.path, "rootfs"), { mode: 0o711 });
    symlinkSync(bundle.work, join(bundle.path, "work"));
    if (spec.length > 0) writeFileSync(join(bundle.path, "config.json"), spec, { mode: 0o600 });
  } finally {
    await work;
  }
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
    await unmountTree(rootfs).catch(() => {});
  }
  await removeTree(bundle.work);
  const hidden = join(bundle.path, "..", `.${bundle.id}.${process.pid}-${++hiddenCount}`);
  try {
    renameSync(bundle.path, hidden);
  } catch (err) {
    if (!messageOf(err).includes("ENOENT")) throw err;
  }
  return { removed: () => removeTree(hidden) };
}

/** Keeps where the shim listens. Not made durable: no shim outlives the machine. */
export function writeAddress(bundle: Bundle, address: ShimAddress, shimPath: string): void {
  writeFileSync(join(bundle.path, "shim-binary-path"), shimPath, { mode: 0o600 });
  const path = join(bundle.path, "bootstrap.json");
  const text = JSON.stringify({ ...address, address: `unix://${address.address}` });
  writeFileSync(`${path}.tmp`, text, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** Notes that the task runs in the shim of a sandbox. */
export async function writeSandbox(bundle: Bundle, sandbox: string): Promise<void> {
  await writeFile(join(bundle.path, "sandbox"), sandbox, { mode: 0o600 });
}

/** The sandbox whose shim runs the task; undefined when it has another. */
export function sandboxOf(bundle: Bundle): string | undefined {
  try {
    return readFileSync(join(bundle.path, "sandbox"), "utf8") || undefined;
  } catch {
    return undefined;
  }
}

/** The program of the shim, when it is a shim of its own (not this executable) and still there. */
export function shimPathOf(bundle: Bundle): string | undefined {
  try {
    const path = readFileSync(join(bundle.path, "shim-binary-path"), "utf8").trim();
    return basename(path).startsWith("containerd-shim-") && existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** An address as sandboxes tell it: a scheme, with the protocol in front. @throws not-implemented */
export function sandboxAddress(text: string, version: number): ShimAddress {
  const path = /^(?:ttrpc\+)?(?:unix:\/\/)?(\/.*)$/.exec(text)?.[1];
  if (path === undefined)
    throw notImplemented(`task API address "${text}": only ttrpc over unix sockets is spoken`);
  return { version: version === 0 ? 2 : version, address: path, protocol: "ttrpc" };
}

/** Reads it back: bootstrap.json, or the bare `address` of old shims. */
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

/** Keeps what the streams of init are: a shim that was killed cannot tell. */
export function writeStdio(bundle: Bundle, { stdin, stdout, stderr, terminal }: Stdio): void {
  if (`${stdin}${stdout}${stderr}` === "") return;
  writeFileSync(join(bundle.path, "stdio.json"), JSON.stringify({ stdin, stdout, stderr, terminal }));
}

/** What {@link writeStdio} kept; no streams when it kept nothing. */
export function readStdio(bundle: Bundle): Stdio {
  try {
    const kept = JSON.parse(readFileSync(join(bundle.path, "stdio.json"), "utf8")) as Partial<Stdio>;
    return { ...NO_STDIO, ...kept };
  } catch {
    return NO_STDIO;
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
