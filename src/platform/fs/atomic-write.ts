import { randomBytes } from "node:crypto";
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  openSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";

/** Options of {@link writeFileAtomic}. */
export interface AtomicWriteOptions {
  /** Permission bits, whatever the umask. Default 0o644. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /**
   * False leaves out both fsyncs: all or nothing against other readers, not against power loss. Then nothing waits for the
   * disk, and the calls are made at once: handing each of them to a thread costs more than they do. Default true.
   */
  readonly durable?: boolean;
}

/** Replaces the file at `path`: a reader, or a crash at any moment, sees the old content or the new. */
export async function writeFileAtomic(
  path: string,
  content: Uint8Array | string,
  options: AtomicWriteOptions = {},
): Promise<void> {
  const { mode = 0o644, uid, gid, durable = true } = options;
  const temporary = `${path}.tmp-${randomBytes(6).toString("hex")}`;
  if (!durable) return writeAtOnce(path, temporary, content, { mode, uid, gid });
  const file: FileHandle = await open(temporary, "wx", mode);
  try {
    try {
      await file.writeFile(content);
      if (uid !== undefined || gid !== undefined) {
        const stat = await file.stat();
        await file.chown(uid ?? stat.uid, gid ?? stat.gid);
      }
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  await syncDir(dirname(path));
}

function writeAtOnce(
  path: string,
  temporary: string,
  content: Uint8Array | string,
  { mode, uid, gid }: { mode: number; uid: number | undefined; gid: number | undefined },
): void {
  const fd = openSync(temporary, "wx", mode);
  try {
    try {
      writeFileSync(fd, content);
      if (uid !== undefined || gid !== undefined) {
        const stat = fstatSync(fd);
        fchownSync(fd, uid ?? stat.uid, gid ?? stat.gid);
      }
      fchmodSync(fd, mode);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    try {
      unlinkSync(temporary);
    } catch {
      // the first failure is the one to tell
    }
    throw error;
  }
}

/** Makes names in `directory` (new, renamed, removed files) survive power loss. */
export async function syncDir(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
