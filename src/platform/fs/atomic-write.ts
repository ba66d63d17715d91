import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";

/** Options of {@link writeFileAtomic}. */
export interface AtomicWriteOptions {
  /** Permission bits, whatever the umask. Default 0o644. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** False leaves out both fsyncs: all or nothing against other readers, not against power loss. Default true. */
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
  const file: FileHandle = await open(temporary, "wx", mode);
  try {
    try {
      await file.writeFile(content);
      if (uid !== undefined || gid !== undefined) {
        const stat = await file.stat();
        await file.chown(uid ?? stat.uid, gid ?? stat.gid);
      }
      await file.chmod(mode);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  if (durable) await syncDir(dirname(path));
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
