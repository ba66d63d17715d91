/** Stores over each snapshotter that mounts for real, with what it needs of this machine. All need root. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { noLog } from "../../src/core/log.ts";
import type { SnapshotBackend } from "../../src/core/snapshots/snapshotter.ts";
import { setMainScript } from "../../src/platform/runtime.ts";
import { BlockfileBackend } from "../../src/plugins/snapshots/blockfile.ts";
import { BtrfsBackend } from "../../src/plugins/snapshots/btrfs.ts";
import { SnapshotDirectories } from "../../src/plugins/snapshots/directories.ts";
import { ErofsBackend } from "../../src/plugins/snapshots/erofs.ts";
import { NativeBackend } from "../../src/plugins/snapshots/native.ts";
import { OverlayBackend } from "../../src/plugins/snapshots/overlayfs.ts";
import { type MakeStores, tempFolder } from "./harness.ts";
import { openLocal } from "./local-stores.ts";
import { type SnapshotterTraits, snapshotterSuite } from "./snapshotter.ts";

setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);

/** One snapshotter. */
export interface RealSnapshotter {
  readonly traits: SnapshotterTraits;
  /** What is missing here; undefined when it works. */
  readonly missing: string | undefined;
  readonly make: MakeStores;
}

/** A backend in a folder of its own, and how to end it. */
interface Built {
  readonly backend: SnapshotBackend;
  readonly close?: () => Promise<void>;
}

function real(
  traits: Omit<SnapshotterTraits, "mounts">,
  works: boolean,
  missing: string,
  build: (dirs: SnapshotDirectories, folder: string) => Built,
  prepare: (root: string, folder: string) => void = () => {},
): RealSnapshotter {
  const make: MakeStores = async (options) => {
    const folder = await tempFolder();
    const root = join(folder.path, "snapshotter");
    await mkdir(root);
    prepare(root, folder.path);
    const dirs = new SnapshotDirectories(root, noLog, false);
    await dirs.open();
    const { backend, close } = build(dirs, folder.path);
    const stores = await openLocal(folder.path, { ...options, backends: new Map([[backend.name, backend]]) });
    let closed = false;
    return {
      ...stores,
      close: async () => {
        await stores.close();
        if (closed) return;
        closed = true;
        await dirs.settled();
        await dirs.close();
        await close?.();
        await folder.remove();
      },
    };
  };
  const root = process.getuid?.() === 0;
  return { traits: { ...traits, mounts: true }, missing: root && works ? undefined : missing, make };
}

/** Runs the suite, or says why not. @param over wraps the stores, as by a client of theirs */
export function runSuite(
  each: RealSnapshotter,
  over: (make: MakeStores) => MakeStores = (make) => make,
): void {
  const { traits, missing, make } = each;
  if (missing === undefined) snapshotterSuite(traits, over(make));
  else test(`${traits.name} snapshotter`, { skip: `needs ${missing}` }, () => {});
}

const kernelHas = (type: string): boolean =>
  new RegExp(`\\t${type}$`, "m").test(readFileSync("/proc/filesystems", "utf8"));

const OVERLAY = { rootPath: "", upperdirLabel: false, syncRemove: false, slowChown: false, mountOptions: [] };

export const OVERLAYFS: RealSnapshotter = real(
  { name: "overlayfs", renamesDirectories: false },
  true,
  "root",
  (dirs) => ({ backend: new OverlayBackend(dirs, OVERLAY, ["index=off"]) }),
);

/** @param depth layers of the deep test: each is a copy */
export const native = (depth: number): RealSnapshotter =>
  real({ name: "native", renamesDirectories: true, depth }, true, "root", (dirs) => ({
    backend: new NativeBackend(dirs),
  }));

/** On a file system made in a file, a new one for every test: what one leaves does not reach the next. */
export const BTRFS: RealSnapshotter = real(
  { name: "btrfs", renamesDirectories: true, depth: 16 },
  spawnSync("mkfs.btrfs", ["--version"]).status === 0 && kernelHas("btrfs"),
  "root, mkfs.btrfs and btrfs in the kernel",
  (dirs) => ({
    backend: new BtrfsBackend(dirs, noLog),
    close: async () => void execFileSync("umount", [dirs.root]),
  }),
  (root, folder) => {
    const image = join(folder, "disk");
    writeFileSync(image, "");
    truncateSync(image, 256 << 20);
    execFileSync("mkfs.btrfs", ["-q", image]);
    execFileSync("mount", ["-o", "loop", image, root]);
  },
);

export const EROFS: RealSnapshotter = real(
  { name: "erofs", renamesDirectories: false, depth: 12, wholeFiles: true },
  spawnSync("mkfs.erofs", ["--help"]).error === undefined && kernelHas("erofs"),
  "root, mkfs.erofs and erofs in the kernel",
  (dirs) => {
    const backend = new ErofsBackend(dirs, {
      rootPath: "",
      mountOptions: [],
      guards: { verity: false, immutable: false },
    });
    return { backend, close: () => backend.close() };
  },
);

export const BLOCKFILE: RealSnapshotter = real(
  { name: "blockfile", renamesDirectories: true, depth: 8, wholeFiles: true },
  spawnSync("mkfs.ext4", ["-V"]).status === 0 && existsSync("/dev/loop-control"),
  "root, mkfs.ext4 and loop devices",
  (dirs, folder) => ({
    backend: new BlockfileBackend(dirs, {
      rootPath: "",
      scratchFile: join(folder, "scratch"),
      fsType: "ext4",
      mountOptions: [],
    }),
  }),
  (_root, folder) => {
    const scratch = join(folder, "scratch");
    writeFileSync(scratch, "");
    truncateSync(scratch, 8 << 20);
    execFileSync("mkfs.ext4", ["-q", "-O", "^has_journal", "-E", "root_owner=0:0", scratch]);
    execFileSync("debugfs", ["-w", "-R", "rmdir lost+found", scratch], { stdio: "ignore" });
  },
);
