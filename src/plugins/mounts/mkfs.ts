/** The transformer `mkfs`: makes the file a mount is of, with an empty file system in it, unless it is there already. */
import { link, open, rm, stat } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { abortError, type Call } from "../../core/call.ts";
import { diskFull, failedPrecondition, internal, invalidArgument, wrap } from "../../core/errors.ts";
import { run } from "../../platform/process/spawn.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";

/** Words before the file, by file system. */
const TOOLS: Readonly<Record<string, (uuid: string) => string[]>> = {
  ext2: (uuid) => (uuid === "" ? [] : ["-U", uuid]),
  ext3: (uuid) => (uuid === "" ? [] : ["-U", uuid]),
  ext4: (uuid) => (uuid === "" ? [] : ["-U", uuid]),
  xfs: (uuid) => (uuid === "" ? [] : ["-m", `uuid=${uuid}`]),
};
const UNITS = "kmgtp";

/** What the options `X-containerd.mkfs.*` ask for. */
export interface MkfsRequest {
  readonly file: string;
  /** Bytes. */
  readonly size: number;
  readonly fs: string;
  /** "" for one that the tool chooses. */
  readonly uuid: string;
}

/**
 * Reads the options by their names without prefix: `mkfs.size` (bytes, or with k, m, g, t, p), `mkfs.fs` (ext4), `mkfs.uuid`.
 * @throws invalid-argument
 */
export function parseMkfs(file: string, own: readonly (readonly [string, string])[]): MkfsRequest {
  let [size, fs, uuid] = [0, "ext4", ""];
  for (const [name, value] of own) {
    if (!name.startsWith("mkfs.")) continue;
    const key = name.slice("mkfs.".length);
    if (key === "size") size = parseSize(value);
    else if (key === "fs") fs = value;
    else if (key === "uuid") uuid = value;
    else throw invalidArgument(`mkfs option "${key}": unknown`, { hint: "use size, fs or uuid" });
  }
  if (!isAbsolute(file)) throw invalidArgument(`mkfs "${file}": an absolute path is required`);
  if (!Object.hasOwn(TOOLS, fs)) throw invalidArgument(`mkfs file system "${fs}": unsupported`);
  if (!/^([0-9a-fA-F][0-9a-fA-F-]*)?$/.test(uuid)) throw invalidArgument(`mkfs uuid "${uuid}": not a UUID`);
  if (size === 0) throw invalidArgument("mkfs: the option X-containerd.mkfs.size is required");
  return { file, size, fs, uuid };
}

/**
 * Makes the file, whole or not at all: one that a crash left half made is not taken for a file system later.
 * @throws failed-precondition (something else is there), internal with what the tool said, resource-exhausted, canceled
 */
export async function makeFileSystem(call: Call, request: MkfsRequest): Promise<void> {
  const { file, size, fs, uuid } = request;
  call.check();
  if (await isMade(file)) return;
  const temporary = `${file}.mkfs-new`;
  await rm(temporary, { force: true });
  try {
    const made = await open(temporary, "wx", 0o640).catch((err: unknown) => {
      throw wrap(err, `mkfs "${file}"`);
    });
    try {
      await made.truncate(size);
    } finally {
      await made.close();
    }
    await format(call, `mkfs.${fs}`, ["-q", ...(TOOLS[fs]?.(uuid) ?? []), temporary]);
    // not a rename: what somebody else made meanwhile stays
    await link(temporary, file).catch(async (err: unknown) => {
      if (!isErrno(err, "EEXIST") || !(await isMade(file))) throw err;
    });
  } finally {
    await rm(temporary, { force: true });
  }
}

async function isMade(file: string): Promise<boolean> {
  try {
    if ((await stat(file)).isFile()) return true;
  } catch (err) {
    if (isErrno(err, "ENOENT")) return false;
    throw wrap(err, `mkfs "${file}"`);
  }
  throw failedPrecondition(`mkfs "${file}": it exists and is not a regular file`);
}

async function format(call: Call, tool: string, args: readonly string[]): Promise<void> {
  const done = await run(tool, args, {
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
    signal: call.signal,
    maxOutput: 8192,
    killGroup: true,
  }).catch((err: unknown) => {
    if (call.signal.aborted) throw abortError(call.signal);
    throw internal(`run ${tool}: is it installed?`, { cause: err });
  });
  if (done.code === 0) return;
  const text = new TextDecoder();
  const said = `${text.decode(done.stdout)}${text.decode(done.stderr)}`.trim().slice(-500);
  const message = `${tool} ended with code ${done.code}: ${said}`;
  throw /No space left/i.test(said) ? diskFull(message, "ENOSPC") : internal(message);
}

function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp])?i?b?$/i.exec(text);
  const power = match?.[2] === undefined ? 0 : UNITS.indexOf(match[2].toLowerCase()) + 1;
  const size = Math.floor(Number(match?.[1] ?? Number.NaN) * 1024 ** power);
  if (!Number.isSafeInteger(size) || size <= 0)
    throw invalidArgument(`mkfs size "${text}": want bytes, or a number with k, m, g, t or p`);
  return size;
}
