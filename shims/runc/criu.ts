/** How CRIU restores a container. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isErrno } from "../../src/platform/syscalls/errors.ts";
import { withMember } from "./spec.ts";

/** Names CRIU's configuration file in annotations, as runc and crun know it. */
const ANNOTATION = "org.criu.config";
/** The file that is read when nothing names another. */
const DEFAULT = "/etc/criu/runc.conf";

/**
 * Has CRIU leave what it restores in the cgroup that the OCI runtime put it into. On the unified hierarchy it would make the cgroup of
 * the container that was checkpointed again and move everything there: limits and statistics would be those of another container, and
 * a second checkpoint finds nothing to freeze. runc has no flag for that before 1.2, so a configuration file says it; one that the
 * container names itself is left alone.
 */
export function restoreInPlace(bundle: string): void {
  const path = join(bundle, "config.json");
  const text = readFileSync(path, "utf8");
  const { annotations } = JSON.parse(text) as { annotations?: Readonly<Record<string, string>> | null };
  if (annotations?.[ANNOTATION] !== undefined) return;
  const config = join(bundle, "criu.conf");
  // an optional value is read only behind "="
  writeFileSync(config, `${hostConfig()}\nmanage-cgroups=ignore\n`, { mode: 0o600 });
  writeFileSync(path, withMember(text, "annotations", { ...annotations, [ANNOTATION]: config }));
}

function hostConfig(): string {
  try {
    return readFileSync(DEFAULT, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return "";
    throw error;
  }
}
