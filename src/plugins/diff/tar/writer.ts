/** Makes tar headers: ustar, with a pax header before it only when a value does not fit (POSIX.1-2017 pax). */
import { Buffer } from "node:buffer";
import type { ByteString } from "./byte-string.ts";
import { BLOCK, TYPE } from "./header.ts";
import type { TarTime } from "./pax.ts";

/** A member to write; bytes as byte strings. */
export interface TarMember {
  readonly type: number;
  readonly name: ByteString;
  readonly linkname?: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: TarTime;
  readonly devmajor?: number;
  readonly devminor?: number;
  readonly xattrs?: ReadonlyMap<ByteString, ByteString>;
}

/** Largest values of the octal fields. */
const MAX_ID = 0o7777777;
const MAX_SIZE = 0o77777777777;

/** The header blocks of a member: a pax header when needed, then the ustar header. */
export function tarHeader(member: TarMember): Uint8Array {
  const pax = paxRecords(member);
  const blocks = pax.length === 0 ? 1 : 2 + Math.ceil(pax.length / BLOCK);
  const out = Buffer.alloc(blocks * BLOCK);
  let at = 0;
  if (pax.length > 0) {
    ustar(out, 0, {
      type: TYPE.pax,
      name: "PaxHeaders/entry",
      mode: 0o644,
      uid: 0,
      gid: 0,
      size: pax.length,
      mtime: { sec: 0, nsec: 0 },
    });
    out.write(pax, BLOCK, "latin1");
    at = (blocks - 1) * BLOCK;
  }
  ustar(out, at, member);
  return out;
}

/** Zeros that fill the last block of `size` bytes of data. */
export function tarPadding(size: number): Uint8Array {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}

/** The two zero blocks at the end. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK);
}

function paxRecords(member: TarMember): ByteString {
  let text = "";
  const add = (key: string, value: ByteString): void => {
    text += paxRecord(key, value);
  };
  const linkname = member.linkname ?? "";
  if (!isUtf8(member.name) || !isUtf8(linkname)) add("hdrcharset", "BINARY");
  if (needsPax(member.name)) add("path", member.name);
  if (needsPax(linkname)) add("linkpath", linkname);
  if (member.size > MAX_SIZE) add("size", String(member.size));
  if (member.uid > MAX_ID) add("uid", String(member.uid));
  if (member.gid > MAX_ID) add("gid", String(member.gid));
  const { sec, nsec } = member.mtime;
  if (nsec !== 0 || sec < 0 || sec > MAX_SIZE) add("mtime", paxTime(member.mtime));
  for (const [name, value] of member.xattrs ?? []) add(`SCHILY.xattr.${name}`, value);
  return text;
}

/** Too long for its field, or not plain ASCII, which old readers take for another charset. */
function needsPax(name: ByteString): boolean {
  return name.length > 100 || /[^\x01-\x7f]/.test(name);
}

function isUtf8(name: ByteString): boolean {
  if (!/[\x80-\xff]/.test(name)) return true;
  const bytes = Buffer.from(name, "latin1");
  return Buffer.from(bytes.toString("utf8"), "utf8").equals(bytes);
}

function paxTime({ sec, nsec }: TarTime): string {
  if (nsec === 0) return String(sec);
  const digits = (value: number): string => String(value).padStart(9, "0").replace(/0+$/, "");
  if (sec >= 0) return `${sec}.${digits(nsec)}`;
  return `-${-sec - 1}.${digits(1_000_000_000 - nsec)}`;
}

/** `length key=value\n`, where the length counts itself. */
function paxRecord(key: string, value: ByteString): ByteString {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (String(length).length !== String(rest).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function ustar(out: Buffer, at: number, member: TarMember): void {
  const octal = (offset: number, width: number, value: number, max: number): void => {
    const text = (value < 0 || value > max ? 0 : value).toString(8).padStart(width - 1, "0");
    out.write(text, at + offset, "latin1");
  };
  out.write(member.name.slice(0, 100), at, "latin1");
  octal(100, 8, member.mode, 0o7777);
  octal(108, 8, member.uid, MAX_ID);
  octal(116, 8, member.gid, MAX_ID);
  octal(124, 12, member.size, MAX_SIZE);
  octal(136, 12, member.mtime.sec, MAX_SIZE);
  out.write("        ", at + 148, "latin1");
  out[at + 156] = member.type;
  out.write((member.linkname ?? "").slice(0, 100), at + 157, "latin1");
  out.write("ustar\x0000", at + 257, "latin1");
  octal(329, 8, member.devmajor ?? 0, MAX_ID);
  octal(337, 8, member.devminor ?? 0, MAX_ID);
  let sum = 0;
  for (let i = at; i < at + BLOCK; i++) sum += out[i] ?? 0;
  out.write(`${sum.toString(8).padStart(6, "0")}\0 `, at + 148, "latin1");
}
