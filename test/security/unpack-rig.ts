/** What the unpack tests share: archives built block by block, a content store of files, a tree's listing. */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdtempSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { background, type NamespacedCall } from "../../src/core/call.ts";
import type { LocalContentStore } from "../../src/core/content/content.ts";
import type { Digest } from "../../src/core/ids/digest.ts";
import type { Mount } from "../../src/core/mounts/mount.ts";
import type { Descriptor } from "../../src/core/oci.ts";
import { setMainScript } from "../../src/platform/runtime.ts";
import { HelperApplier, type LayerLimits } from "../../src/plugins/diff/apply.ts";
import { type TarMember, tarEnd, tarHeader, tarPadding } from "../../src/plugins/diff/tar/writer.ts";

setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);

/** A member with defaults; `data` gives the content. */
export interface Member extends Partial<TarMember> {
  readonly name: string;
  readonly data?: string | Uint8Array;
}

export const T = {
  file: 0x30,
  link: 0x31,
  symlink: 0x32,
  char: 0x33,
  block: 0x34,
  dir: 0x35,
  fifo: 0x36,
} as const;

/** An archive of members, or raw blocks where given. */
export function tar(...members: (Member | Uint8Array)[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const member of members) {
    if (member instanceof Uint8Array) {
      parts.push(member);
      continue;
    }
    const data =
      typeof member.data === "string" ? Buffer.from(member.data) : (member.data ?? new Uint8Array());
    const type = member.type ?? T.file;
    parts.push(
      tarHeader({
        type,
        mode: type === T.dir ? 0o755 : 0o644,
        uid: 0,
        gid: 0,
        mtime: { sec: 1_600_000_000, nsec: 0 },
        size: data.length,
        ...member,
      }),
      data,
      tarPadding(data.length),
    );
  }
  parts.push(tarEnd());
  return Buffer.concat(parts);
}

export const call = background.in("test" as never) as NamespacedCall;

/**
 * Temporary folder of one test file, a memory file system when we may mount one: thousands of files made and removed on a
 * disk take longer than all the tests. Give it to {@link removeWorkspace} at the end.
 */
export function workspace(name: string): string {
  const path = mkdtempSync(join(tmpdir(), `gantry-${name}-`));
  if (process.getuid?.() === 0) execFileSync("mount", ["-t", "tmpfs", "-o", "mode=755", "gantry-test", path]);
  return path;
}

/** Unmounts and removes a workspace. */
export function removeWorkspace(path: string): void {
  if (process.getuid?.() === 0) execFileSync("umount", ["-l", path]);
  rmdirSync(path);
}

export const sha256 = (bytes: Uint8Array): Digest =>
  `sha256:${createHash("sha256").update(bytes).digest("hex")}` as Digest;

/** Applies archives that lie in files of `dir`. */
export class Rig {
  readonly dir: string;
  readonly applier: HelperApplier;

  constructor(dir: string, limits: LayerLimits = { entries: 1_000_000, bytes: 0 }) {
    this.dir = dir;
    const content = {
      blobPath: async (_call: unknown, digest: string) => join(dir, digest.slice(7)),
    } as unknown as LocalContentStore;
    this.applier = new HelperApplier(content, limits);
  }

  /** A fresh directory. */
  folder(): string {
    const path = mkdtempSync(join(this.dir, "d"));
    chmodSync(path, 0o755);
    return path;
  }

  /** Stores bytes; gives their descriptor. */
  store(bytes: Uint8Array, mediaType = "application/vnd.oci.image.layer.v1.tar"): Descriptor {
    const digest = sha256(bytes);
    writeFileSync(join(this.dir, digest.slice(7)), bytes);
    return { mediaType, digest, size: BigInt(bytes.length) };
  }

  /** Applies an archive to mounts. */
  apply(bytes: Uint8Array, mounts: readonly Mount[], mediaType?: string): Promise<Descriptor> {
    return this.applier.apply(call, this.store(bytes, mediaType), mounts);
  }
}

/** A bind mount of `source`. */
export function bind(source: string): Mount[] {
  return [{ type: "bind", source, target: "", options: ["rw", "rbind"] }];
}

/** Overlay mounts over `lowers`, nearest first. */
export function overlay(upper: string, work: string, lowers: readonly string[]): Mount[] {
  const options = ["index=off", `workdir=${work}`, `upperdir=${upper}`, `lowerdir=${lowers.join(":")}`];
  return [{ type: "overlay", source: "overlay", target: "", options }];
}

const LIST = `
import os,sys,stat,hashlib
def walk(p, rel):
    st=os.lstat(p); m=st.st_mode
    x=sorted((k, os.getxattr(p,k,follow_symlinks=False)) for k in os.listxattr(p,follow_symlinks=False) if '.overlay.' not in k)
    e=''
    if stat.S_ISLNK(m): e=os.readlink(p)
    elif stat.S_ISREG(m): e=hashlib.sha256(open(p,'rb').read()).hexdigest()
    elif stat.S_ISBLK(m) or stat.S_ISCHR(m): e=(os.major(st.st_rdev),os.minor(st.st_rdev))
    d=stat.S_ISDIR(m)
    if rel or len(sys.argv)>2: print(rel, oct(m), st.st_uid, st.st_gid, '-' if d else st.st_size, st.st_mtime_ns, '-' if d else st.st_nlink, e, x)
    if d:
        for n in sorted(os.listdir(p)): walk(os.path.join(p,n), os.path.join(rel,n))
walk(os.fsencode(sys.argv[1]), b'')
`;

/**
 * Everything about a tree, one line per entry: type, mode, owner, size, nanosecond time, links, content, attributes.
 * Made by another program than the one under test. `self` lists the top as well.
 */
export function listing(path: string, self = false): string {
  return execFileSync("python3", ["-c", LIST, path, ...(self ? ["self"] : [])], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
}
