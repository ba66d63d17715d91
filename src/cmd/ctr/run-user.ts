/** Resolves a USER value in the rootfs of a new container: in its layers, or mounted for a moment, read-only. */

import { invalidArgument } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { processOf } from "../../oci/spec/options.ts";
import type { Spec, User } from "../../oci/spec/types.ts";
import {
  isNumeric,
  resolveUser,
  splitUser,
  type UserDatabase,
  unreadableDatabase,
} from "../../oci/spec/users.ts";
import { layersOf } from "../../platform/fs/layer-files.ts";
import { databaseInLayers, databaseInRoot } from "../../platform/fs/user-database.ts";

/** Sets uid, gid and groups. `mounts` of a snapshot made just now. `isDefault`: neither image nor user asked, so a broken database is no error. */
export async function applyUser(
  spec: Spec,
  value: string,
  mounts: readonly Mount[],
  isDefault: boolean,
): Promise<void> {
  const process = processOf(spec);
  const db = layered(mounts) ?? (await mounted(mounts, isDefault));
  const { home, ...user } = resolveUser(value === "" ? "0" : value, db);
  process.user = user;
  if (home !== undefined && home !== "" && !(process.env ?? []).some((e) => e.startsWith("HOME="))) {
    if (/[\n\0:]/.test(home))
      throw invalidArgument(`home of user "${value}": contains a forbidden character`);
    process.env = [...(process.env ?? []), `HOME=${home}`];
  }
}

/** Undefined when only a mount can tell, or say what is wrong. */
function layered(mounts: readonly Mount[]): UserDatabase | undefined {
  const layers = layersOf(mounts);
  if (layers === undefined) return undefined;
  try {
    return databaseInLayers(layers);
  } catch {
    return undefined;
  }
}

async function mounted(mounts: readonly Mount[], isDefault: boolean): Promise<UserDatabase> {
  const { withTempMount } = await import("../../platform/mounts/mounts.ts");
  const readonly = mounts.map((m) => ({ ...m, options: [...m.options.filter((o) => o !== "rw"), "ro"] }));
  return await withTempMount(readonly, async (root) => databaseInRoot(root, unreadableDatabase(isDefault)));
}

/** A USER value in the root of a process that runs: for exec. */
export function userOfProcess(value: string, pid: number): User {
  const { user, group } = splitUser(value);
  const numbers = isNumeric(user) && (group === undefined || isNumeric(group));
  const { home: _home, ...found } = resolveUser(
    value,
    databaseInRoot(`/proc/${pid}/root`, unreadableDatabase(numbers)),
  );
  return found;
}
