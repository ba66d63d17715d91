/**
 * USER values of images and flags: `uid`, `uid:gid`, `name`, `name:group`, mixed. Hostile input (S18, S19, S24): only whole
 * decimal numbers are numbers, ids stay below 2^31, a number is never looked up as a name.
 */
import { invalidArgument, messageOf } from "../../core/errors.ts";
import type { User } from "./types.ts";

/** A line of /etc/passwd. */
export interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** A line of /etc/group. */
export interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** Texts of the user database inside the image; undefined when the file is missing. */
export interface UserDatabase {
  readonly passwd: string | undefined;
  readonly group: string | undefined;
}

/** What to do with a database that cannot be read. `lenient`: nobody asked for a user by name. @throws invalid-argument */
export const unreadableDatabase =
  (lenient: boolean) =>
  (path: string, err: unknown): undefined => {
    if (lenient) return undefined;
    throw invalidArgument(`read ${path} of the image: ${messageOf(err)}`, { cause: err });
  };

/** Largest id: the kernel's -1 and anything that could wrap is out. */
const MAX_ID = 2 ** 31 - 1;

/** Does a USER value need the user database? Numeric uid with numeric or no group still wants the groups of that uid. */
export function isNumeric(part: string): boolean {
  return /^[0-9]+$/.test(part);
}

/** @throws invalid-argument when out of range */
function parseId(text: string, what: string): number {
  const value = text.length > 10 ? Number.POSITIVE_INFINITY : Number(text);
  if (value > MAX_ID) throw invalidArgument(`${what} "${text}": out of range, the largest id is ${MAX_ID}`);
  return value;
}

/** Splits a USER value. @throws invalid-argument on empty parts, blanks and more than one colon */
export function splitUser(value: string): { user: string; group: string | undefined } {
  const parts = value.split(":");
  const [user = "", group] = parts;
  if (parts.length > 2 || user === "" || group === "" || /[\s\0]/.test(value))
    throw invalidArgument(`user "${value}": use uid, uid:gid, name or name:group`);
  if (/^[-+]/.test(user) || (group !== undefined && /^[-+]/.test(group)))
    throw invalidArgument(`user "${value}": out of range`);
  return { user, group };
}

/**
 * Resolves a USER value against the image's user database. Supplementary groups are those the database gives the user,
 * with the primary group first (S19).
 * @throws invalid-argument, also for names the database lacks
 */
export function resolveUser(value: string, db: UserDatabase): User & { home: string | undefined } {
  const { user, group } = splitUser(value);
  const passwd = parsePasswd(db.passwd ?? "");
  const groups = parseGroup(db.group ?? "");
  const uid = isNumeric(user) ? parseId(user, "uid") : undefined;
  const entry = uid === undefined ? passwd.find((p) => p.name === user) : passwd.find((p) => p.uid === uid);
  if (uid === undefined && entry === undefined)
    throw invalidArgument(`user "${user}": no such user in /etc/passwd of the image`);
  const gid = group === undefined ? (entry?.gid ?? 0) : resolveGroup(group, groups);
  const name = entry?.name;
  const extra = name === undefined ? [] : groups.filter((g) => g.members.includes(name)).map((g) => g.gid);
  const all = [gid, ...(group === undefined ? extra : [])];
  return { uid: uid ?? entry?.uid ?? 0, gid, additionalGids: [...new Set(all)], home: entry?.home };
}

function resolveGroup(group: string, groups: readonly GroupEntry[]): number {
  if (isNumeric(group)) return parseId(group, "gid");
  const entry = groups.find((g) => g.name === group);
  if (entry === undefined)
    throw invalidArgument(`group "${group}": no such group in /etc/group of the image`);
  return entry.gid;
}

/** Lines that are not well formed are skipped, as libc does. */
export function parsePasswd(text: string): PasswdEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name, , uid, gid, , home] = line.split(":");
    if (name === undefined || name === "" || !isNumeric(uid ?? "") || !isNumeric(gid ?? "")) return [];
    const ids = [Number(uid), Number(gid)];
    if (ids.some((id) => id > MAX_ID)) return [];
    return [{ name, uid: ids[0] ?? 0, gid: ids[1] ?? 0, home: home ?? "" }];
  });
}

export function parseGroup(text: string): GroupEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name, , gid, members] = line.split(":");
    if (name === undefined || name === "" || !isNumeric(gid ?? "") || Number(gid) > MAX_ID) return [];
    return [{ name, gid: Number(gid), members: (members ?? "").split(",").filter((m) => m !== "") }];
  });
}
