/**
 * Looks into the root file system of a container before it runs: user database, places that must be what they seem, content of
 * volumes. Everything in there is the image's: links never lead out.
 */
import { invalidArgument } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { type UserDatabase, unreadableDatabase } from "../../oci/spec/users.ts";
import { isFolderOrMissing, layersOf } from "../../platform/fs/layer-files.ts";
import { databaseInLayers, databaseInRoot } from "../../platform/fs/user-database.ts";
import { withTempMount } from "../../platform/mounts/mounts.ts";
import { S_IFDIR, S_IFLNK } from "../../platform/syscalls/constants.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { lstat } from "../../platform/syscalls/stat.ts";
import { copyVolumes, type VolumeCopy } from "./volumes.ts";

/** Mount points of the runtime's own. */
const PLACES = ["proc", "sys", "dev"];

const NOTHING: UserDatabase = { passwd: undefined, group: undefined };

/** What to look at. */
export interface RootfsLook {
  readonly database: boolean;
  /** A missing or unreadable database is no error: nobody asked for a user by name. */
  readonly lenient: boolean;
  readonly volumes: readonly VolumeCopy[];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Looks into a snapshot made just now: in its layers where they can tell, else it is mounted read-only for a moment.
 * @throws invalid-argument when /proc, /sys or /dev is not a folder (S49, S52), or the user database cannot be read
 */
export async function lookIntoRootfs(mounts: readonly Mount[], look: RootfsLook): Promise<UserDatabase> {
  if (mounts.length === 0) return NOTHING;
  const found = look.volumes.length === 0 ? lookIntoLayers(mounts, look.database) : undefined;
  if (found !== undefined) return found;
  return withTempMount(readonlyMounts(mounts), async (root) => {
    checkPlaces(root);
    const db = look.database ? databaseInRoot(root, unreadableDatabase(look.lenient)) : NOTHING;
    await copyVolumes(root, look.volumes, look.signal);
    return db;
  });
}

/** Undefined when only a mount can tell, or say what is wrong. */
function lookIntoLayers(mounts: readonly Mount[], database: boolean): UserDatabase | undefined {
  const layers = layersOf(mounts);
  if (layers === undefined) return undefined;
  try {
    if (!PLACES.every((place) => isFolderOrMissing(layers, place))) return undefined;
    if (!database) return NOTHING;
    return databaseInLayers(layers);
  } catch {
    return undefined;
  }
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

/** They must be folders: through a link the runtime would make files elsewhere. */
function checkPlaces(root: string): void {
  for (const place of PLACES) {
    try {
      const { type } = lstat(`${root}/${place}`);
      if (type === S_IFDIR) continue;
      const what = type === S_IFLNK ? "a symbolic link" : "no directory";
      throw invalidArgument(`image: /${place} is ${what}`);
    } catch (err) {
      if (!isErrno(err, "ENOENT")) throw err;
    }
  }
}
