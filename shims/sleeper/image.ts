/**
 * The sleeper as a program: an ELF file of two pages and a bit, whose one segment holds the code (sleeper.c) and behind it
 * what it shall wait for and become. All addresses in it count from the segment's start.
 */
import { code } from "./code.ts";

/** One file to wait for. */
export interface Poll {
  readonly fd: number;
  /** POLLIN and so on; errors and hang-ups always count, but for the end of a connection, which POLLRDHUP marks. */
  readonly events: number;
}

/** What the sleeper does. */
export interface Plan {
  readonly polls: readonly Poll[];
  /** fd of the program it becomes. */
  readonly exe: number;
  /** fd of the signals that wake (signalfd), one of the polls. */
  readonly signals: number;
  /** Variable of the environment that says which signal it was, "00" for none. */
  readonly signalName: string;
  /** Words and environment that program gets, `NAME=VALUE`. */
  readonly argv: readonly string[];
  readonly env: readonly string[];
  /** Name of the process, at most 15 bytes. */
  readonly name: string;
}

const PAGE = 4096;
const LOAD_AT = 0x1_0000;
/** Bytes of `struct plan` in sleeper.c. */
const PLAN_SIZE = 72;
const POLL_SIZE = 8;
const MACHINE: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };

/** True where there is code for this machine. */
export function canSleep(arch: string = process.arch): boolean {
  return code[arch] !== undefined && MACHINE[arch] !== undefined;
}

/** Builds the program. @throws Error for an architecture without code */
export function sleeperImage(plan: Plan, arch: string = process.arch): Uint8Array {
  const text = code[arch];
  const machine = MACHINE[arch];
  if (text === undefined || machine === undefined) throw new Error(`sleep on "${arch}": no code for it`);
  const segment = segmentOf(Buffer.from(text, "base64"), plan);
  // A segment begins at a page of the file: the header has one of its own, which is not loaded.
  const file = new Uint8Array(PAGE + segment.length);
  file.set(segment, PAGE);
  header(new DataView(file.buffer), machine, segment.length);
  return file;
}

function segmentOf(program: Uint8Array, plan: Plan): Uint8Array {
  const encoder = new TextEncoder();
  const env = [...plan.env, `${plan.signalName}=00`];
  const strings = [plan.name, ...plan.argv, ...env].map((word) => encoder.encode(`${word}\0`));
  const polls = program.length + PLAN_SIZE;
  const argv = polls + plan.polls.length * POLL_SIZE;
  const envp = argv + (plan.argv.length + 1) * 8;
  const text = envp + (env.length + 1) * 8;
  const length = strings.reduce((sum, bytes) => sum + bytes.length, text);
  // Whole words: that is how it is copied.
  const bytes = new Uint8Array(Math.ceil(length / 8) * 8);
  const view = new DataView(bytes.buffer);
  const put = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  bytes.set(program, 0);
  // the last string ends in the two digits and a zero
  const head = [bytes.length, polls, plan.polls.length, argv, envp, text, plan.exe, plan.signals, length - 3];
  head.forEach((value, index) => {
    put(program.length + index * 8, value);
  });
  plan.polls.forEach(({ fd, events }, index) => {
    view.setInt32(polls + index * POLL_SIZE, fd, true);
    view.setInt16(polls + index * POLL_SIZE + 4, events, true);
  });
  let at = text;
  strings.forEach((word, index) => {
    bytes.set(word, at);
    // the first is the name; each list ends with the zero that is there already
    if (index > 0) {
      const isArgument = index <= plan.argv.length;
      put(isArgument ? argv + (index - 1) * 8 : envp + (index - 1 - plan.argv.length) * 8, at);
    }
    at += word.length;
  });
  return bytes;
}

const ELF_HEADER = 64;
const PROGRAM_HEADER = 56;
const PT_LOAD = 1;
const PT_GNU_STACK = 0x6474_e551;
const READ_WRITE_RUN = 7;
const READ_WRITE = 6;

function header(view: DataView, machine: number, length: number): void {
  // magic, 64 bits, little-endian, version 1
  for (const [at, byte] of [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1].entries()) view.setUint8(at, byte);
  view.setUint16(16, 2, true); // runs at fixed addresses
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(LOAD_AT), true); // entry
  view.setBigUint64(32, BigInt(ELF_HEADER), true); // program headers
  view.setUint16(52, ELF_HEADER, true);
  view.setUint16(54, PROGRAM_HEADER, true);
  view.setUint16(56, 2, true);
  const put = (index: number, type: number, flags: number, numbers: readonly number[]): void => {
    const at = ELF_HEADER + index * PROGRAM_HEADER;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    numbers.forEach((value, i) => {
      view.setBigUint64(at + 8 + i * 8, BigInt(value), true);
    });
  };
  // offset, address, physical address, size in the file, in memory, alignment
  put(0, PT_LOAD, READ_WRITE_RUN, [PAGE, LOAD_AT, LOAD_AT, length, length, PAGE]);
  put(1, PT_GNU_STACK, READ_WRITE, [0, 0, 0, 0, 0, 16]);
}
