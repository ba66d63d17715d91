/**
 * How a shim's server process learns what it serves: one JSON line on stdin, one line back on stdout. `start` uses it, and
 * so does our own daemon, which keeps processes waiting for that line (warm spares). The end of stdin before a line means
 * that nobody needs the process.
 */
import { O_RDWR } from "../../src/platform/syscalls/constants.ts";
import { close, dup3, open, read, writeAll } from "../../src/platform/syscalls/files.ts";

/** What a server is told. */
export interface ServeMessage {
  readonly namespace: string;
  /** Id of the first container. */
  readonly id: string;
  readonly bundle: string;
  /** Path of the socket to listen on. */
  readonly socket: string;
  /** Daemon's ttrpc socket, for events. */
  readonly ttrpcAddress: string;
  readonly debug: boolean;
  /** cgroup of the shim itself, "" to stay. */
  readonly shimCgroup: string;
  /** Quiet milliseconds before it sleeps, 0 for never; left out: its own default. */
  readonly sleepAfterMs?: number;
}

/** What it answers. */
export type ServeAnswer =
  | { readonly status: "ok"; readonly pid: number }
  /** Another shim serves that socket: share it. */
  | { readonly status: "exists" }
  | { readonly status: "error"; readonly message: string };

/** Blocks until the line is there. Undefined when stdin ended. */
export function receiveServeMessage(): ServeMessage | undefined {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(new ArrayBuffer(4096));
  let text = "";
  while (!text.includes("\n")) {
    const length = read(0, buffer);
    if (length === 0) return undefined;
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
  return JSON.parse(text) as ServeMessage;
}

/** Answers, and lets go of the three standard streams. */
export function answerServe(answer: ServeAnswer): void {
  writeAll(1, new TextEncoder().encode(`${JSON.stringify(answer)}\n`));
  const none = open("/dev/null", O_RDWR);
  for (const fd of [0, 1, 2]) dup3(none, fd, 0);
  close(none);
}

/** @throws SyntaxError when the text is no answer */
export function parseServeAnswer(text: string): ServeAnswer {
  return JSON.parse(text) as ServeAnswer;
}
