import * as c from "../syscalls/constants.ts";

/** A mount as containerd describes it: `options` are mount(8) words. */
export interface Mount {
  /** File system type: "overlay", "bind", "tmpfs", ... */
  readonly type: string;
  readonly source: string;
  /** Where, below the target given to `mountAll`. */
  readonly target?: string;
  readonly options: readonly string[];
}

/** Mount options taken apart for mount(2). */
export interface ParsedOptions {
  /** MS_* bits without the propagation ones. */
  readonly flags: number;
  /** MS_SHARED and the like, with MS_REC when recursive; 0 for none. */
  readonly propagation: number;
  /** What the file system itself gets. */
  readonly data: readonly string[];
}

type Effect = readonly [clear: boolean, flag: number];

const FLAGS: Readonly<Record<string, Effect>> = {
  async: [true, c.MS_SYNCHRONOUS],
  atime: [true, c.MS_NOATIME],
  bind: [false, c.MS_BIND],
  defaults: [false, 0],
  dev: [true, c.MS_NODEV],
  diratime: [true, c.MS_NODIRATIME],
  dirsync: [false, c.MS_DIRSYNC],
  exec: [true, c.MS_NOEXEC],
  lazytime: [false, c.MS_LAZYTIME],
  mand: [false, c.MS_MANDLOCK],
  noatime: [false, c.MS_NOATIME],
  nodev: [false, c.MS_NODEV],
  nodiratime: [false, c.MS_NODIRATIME],
  noexec: [false, c.MS_NOEXEC],
  nomand: [true, c.MS_MANDLOCK],
  norelatime: [true, c.MS_RELATIME],
  nostrictatime: [true, c.MS_STRICTATIME],
  nosuid: [false, c.MS_NOSUID],
  nosymfollow: [false, c.MS_NOSYMFOLLOW],
  rbind: [false, c.MS_BIND | c.MS_REC],
  relatime: [false, c.MS_RELATIME],
  remount: [false, c.MS_REMOUNT],
  ro: [false, c.MS_RDONLY],
  rw: [true, c.MS_RDONLY],
  strictatime: [false, c.MS_STRICTATIME],
  suid: [true, c.MS_NOSUID],
  sync: [false, c.MS_SYNCHRONOUS],
};

const PROPAGATION: Readonly<Record<string, number>> = {
  private: c.MS_PRIVATE,
  rprivate: c.MS_PRIVATE | c.MS_REC,
  shared: c.MS_SHARED,
  rshared: c.MS_SHARED | c.MS_REC,
  slave: c.MS_SLAVE,
  rslave: c.MS_SLAVE | c.MS_REC,
  unbindable: c.MS_UNBINDABLE,
  runbindable: c.MS_UNBINDABLE | c.MS_REC,
};

/** An option that means work which is not done here. */
export class UnsupportedMountError extends Error {
  override readonly name = "UnsupportedMountError";
  readonly code = "ENOTSUP";
}

/**
 * Takes options apart. Words that are no flags go to the file system; "X-containerd." words are for the engine and dropped.
 * @throws UnsupportedMountError for loop devices and id mapped mounts
 */
export function parseOptions(options: readonly string[]): ParsedOptions {
  let flags = 0;
  let propagation = 0;
  const data: string[] = [];
  for (const option of options) {
    // hasOwn: an option named "constructor" is the file system's business.
    const effect = Object.hasOwn(FLAGS, option) ? FLAGS[option] : undefined;
    const spread = Object.hasOwn(PROPAGATION, option) ? PROPAGATION[option] : undefined;
    if (effect !== undefined) flags = effect[0] ? flags & ~effect[1] : flags | effect[1];
    else if (spread !== undefined) propagation |= spread;
    else if (option === "loop" || /^(?:uidmap|gidmap)=/.test(option)) {
      throw new UnsupportedMountError(`mount option "${option}": not supported`);
    } else if (option !== "" && !option.startsWith("X-containerd.")) data.push(option);
  }
  return { flags, propagation, data };
}

/** Splits an overlay path list at ":" and takes the backslashes away. */
export function splitLayers(list: string): string[] {
  const layers: string[] = [];
  let current = "";
  for (let at = 0; at < list.length; at++) {
    const char = list[at] ?? "";
    if (char === "\\" && at + 1 < list.length) current += list[++at] ?? "";
    else if (char === ":") {
      layers.push(current);
      current = "";
    } else current += char;
  }
  layers.push(current);
  return layers;
}
