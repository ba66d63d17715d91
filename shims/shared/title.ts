/**
 * Words of this process as `ps` shows them. A spare shim learns whose it is after it was started, and people and tools look
 * for `-namespace` and `-id` on the command line: the memory that holds the arguments is written over. (prctl(PR_SET_MM),
 * which could move them, needs a capability.)
 */
import { readFileSync } from "node:fs";
import { O_WRONLY } from "../../src/platform/syscalls/constants.ts";
import { close, open, pwrite } from "../../src/platform/syscalls/files.ts";

/** Last argument of a spare: room for the words to come. */
export const TITLE_ROOM = " ".repeat(320);
/** Fields of /proc/PID/stat behind the name, which is in brackets and may hold anything. */
const ARG_START = 45;
const ARG_END = 46;

/** Sets the words, cut where the room ends. Does nothing where it cannot. */
export function setTitle(words: readonly string[]): void {
  try {
    const stat = readFileSync("/proc/self/stat", "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [from, to] = [Number(fields[ARG_START]), Number(fields[ARG_END])];
    if (!(from > 0 && to > from)) return;
    const area = new Uint8Array(to - from);
    // The last byte stays zero: else the kernel takes the environment behind for a part of it.
    new TextEncoder().encodeInto(words.join("\0"), area.subarray(0, area.length - 1));
    const memory = open("/proc/self/mem", O_WRONLY);
    try {
      pwrite(memory, area, from);
    } finally {
      close(memory);
    }
  } catch {
    // Only a name.
  }
}
