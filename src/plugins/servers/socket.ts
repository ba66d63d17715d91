/** Config shared by the servers on unix sockets. */
import { invalidArgument } from "../../core/errors.ts";

/** Parsed table. */
export interface SocketConfig {
  readonly address: string;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly maxReceive: number;
  readonly maxSend: number;
}

/** Keys with their defaults; the daemon fills the address in. */
export const socketDefaults = { address: "", uid: 0, gid: 0 };

/** Longest path of a unix socket (sockaddr_un without its NUL). */
const MAX_PATH = 107;

/** @throws invalid-argument naming the key */
export function parseSocketConfig(table: Readonly<Record<string, unknown>>): SocketConfig {
  const address = String(table["address"] ?? "").replace(/^unix:\/\//, "");
  if (!address.startsWith("/"))
    throw invalidArgument(`address "${address}": must be the absolute path of a unix socket`);
  if (Buffer.byteLength(address) > MAX_PATH)
    throw invalidArgument(`address "${address}": longer than ${MAX_PATH} bytes, which the kernel allows`);
  return {
    address,
    uid: whole(table, "uid", 0),
    gid: whole(table, "gid", 0),
    maxReceive: whole(table, "max_recv_message_size", 16 << 20),
    maxSend: whole(table, "max_send_message_size", 16 << 20),
  };
}

function whole(table: Readonly<Record<string, unknown>>, key: string, fallback: number): number {
  const value = table[key] ?? fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0)
    throw invalidArgument(`${key}: must be a whole number, not ${String(value)}`);
  return value === 0 && fallback > 0 ? fallback : value;
}
