/** Makes SELinux labels: `user:role:type:level` from the policy's defaults, the request, and a pair of categories. */
import { randomInt } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { SELinuxOption } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { permissionDenied, resourceExhausted } from "../../core/errors.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { lsetxattr } from "../../platform/syscalls/xattr.ts";
import type { SelinuxLabels } from "./input.ts";

/** Levels in use by this daemon's pods. */
const taken = new Set<string>();

/** @param range categories are below this number */
export async function allocateLabels(
  options: SELinuxOption | undefined,
  range: number,
): Promise<SelinuxLabels> {
  const policy = /^\s*SELINUXTYPE\s*=\s*(\S+)/m.exec(await text("/etc/selinux/config"))?.[1] ?? "targeted";
  const contexts = await text(`/etc/selinux/${policy}/contexts/lxc_contexts`);
  const value = (key: string): string =>
    new RegExp(`^\\s*${key}\\s*=\\s*"?([^"\\n]+)"?`, "m").exec(contexts)?.[1]?.trim() ?? "";
  const process = value("process");
  const file = value("file");
  if (process === "" || file === "") return { processLabel: "", mountLabel: "" };
  const asked = options?.level ?? "";
  const level = asked !== "" ? asked : freeLevel(range);
  taken.add(level);
  return {
    processLabel: withParts(process, options, level, true),
    mountLabel: withParts(file, undefined, level, false),
  };
}

/** Gives a level back when its pod is gone. */
export function releaseLabel(label: string): void {
  const level = label.split(":").slice(3).join(":");
  if (level !== "") taken.delete(level);
}

/** Takes the level of a pod that was there before the daemon started. */
export function reserveLabel(label: string): void {
  const level = label.split(":").slice(3).join(":");
  if (level !== "") taken.add(level);
}

function withParts(
  label: string,
  options: SELinuxOption | undefined,
  level: string,
  process: boolean,
): string {
  const [user = "", role = "", type = ""] = label.split(":");
  if (!process) return [user, role, type, level].join(":");
  const pick = (asked: string | undefined, standard: string): string =>
    asked === undefined || asked === "" ? standard : asked;
  return [pick(options?.user, user), pick(options?.role, role), pick(options?.type, type), level].join(":");
}

function freeLevel(range: number): string {
  for (let i = 0; i < range * range; i++) {
    const [a, b] = [randomInt(range), randomInt(range)].sort((x, y) => x - y);
    if (a === b) continue;
    const level = `s0:c${a},c${b}`;
    if (!taken.has(level)) return level;
  }
  throw resourceExhausted("selinux: no free pair of categories", { hint: "raise selinux_category_range" });
}

/** Folders whose relabelling would break the machine. */
const REFUSED = new Set(
  ["/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt"].concat([
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
  ]),
);

/** Labels a tree; links are labelled themselves, never followed. @throws permission-denied for a system folder (S41) */
export async function relabelTree(path: string, label: string): Promise<void> {
  if (REFUSED.has(path)) throw permissionDenied(`relabel "${path}": not allowed`);
  const value = Buffer.from(`${label}\0`);
  const one = (place: string): boolean => {
    try {
      lsetxattr(place, "security.selinux", value);
      return true;
    } catch (err) {
      if (isErrno(err, "ENOTSUP", "EOPNOTSUPP", "ENOENT")) return false;
      throw err;
    }
  };
  const walk = async (place: string): Promise<void> => {
    if (!one(place)) return;
    const entries = await readdir(place, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (entry.isDirectory()) await walk(join(place, entry.name));
      else one(join(place, entry.name));
    }
  };
  await walk(path);
}

async function text(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
