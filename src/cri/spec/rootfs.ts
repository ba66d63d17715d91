/**
 * Looks into the root file system of a container before it runs: user database, places that must be what they seem, content of
 * volumes. Everything in there is the image's: links never lead out.
 */
import { invalidArgument, messageOf } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { UserDatabase } from "../../oci/spec/users.ts";
import { readFileInRoot } from "../../platform/fs/read-in-root.ts";
import { withTempMount } from "../../platform/mounts/mounts.ts";
import { S_IFDIR, S_IFLNK } from "../../platform/syscalls/constants.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { lstat } from "../../platform/syscalls/stat.ts";
import { copyVolumes, type VolumeCopy } from "./volumes.ts";

/** Largest user database read. Bytes (S24). */
const MAX_DATABASE = 10 << 20;

/** What to look at. */
export interface RootfsLook {
  readonly database: boolean;
  /** A missing or unreadable database is no error: nobody asked for a user by name. */
  readonly lenient: boolean;
  readonly volumes: readonly VolumeCopy[];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Mounts the snapshot read-only for a moment.
 * @throws invalid-argument when /proc, /sys or /dev is not a folder (S49, S52), or the user database cannot be read
 */
export async function lookIntoRootfs(mounts: readonly Mount[], look: RootfsLook): Promise<UserDatabase> {
  if (mounts.length === 0) return { passwd: undefined, group: undefined };
  return withTempMount(readonlyMounts(mounts), async (root) => {
    checkPlaces(root);
    const db = look.database ? readDatabase(root, look.lenient) : { passwd: undefined, group: undefined };
    await copyVolumes(root, look.volumes, look.signal);
    return db;
  });
}

/** No writes, so unmounting has nothing to flush; owners as stored, since volumes are shifted when they are mounted. */
function readonlyMounts(mounts: readonly Mount[]): Mount[] {
  return mounts.map((m) => ({
    ...m,
    options: [
      ...m.options.filter(
        (o) => o !== "rw" && o !== "volatile" && o !== "fsync=volatile" && !/^[ug]idmap=/.test(o),
      ),
      "ro",
    ],
  }));
}

/** Mount points of the runtime's own must be folders: through a link it would make files elsewhere. */
function checkPlaces(root: string): void {
  for (const place of ["/proc", "/sys", "/dev"]) {
    try {
      const { type } = lstat(`${root}${place}`);
      if (type === S_IFDIR) continue;
      const what = type === S_IFLNK ? "a symbolic link" : "no directory";
      throw invalidArgument(`image: ${place} is ${what}`);
    } catch (err) {
      if (!isErrno(err, "ENOENT")) throw err;
    }
  }
}

function readDatabase(root: string, lenient: boolean): UserDatabase {
  const read = (path: string): string | undefined => {
    try {
      const bytes = readFileInRoot(root, path, MAX_DATABASE);
      return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
    } catch (err) {
      if (lenient) return undefined;
      throw invalidArgument(`read ${path} of the image: ${messageOf(err)}`, { cause: err });
    }
  };
  return { passwd: read("/etc/passwd"), group: read("/etc/group") };
}
