/** Joins remote streams with this process's stdio. */
import { invalidArgument, messageOf } from "../../../core/errors.ts";
import type { ByteSink, ByteSource } from "../../../cri/streaming/runtime.ts";
import { createFdSink, readFd } from "../../../platform/fs/fd-stream.ts";
import { isatty } from "../../../platform/syscalls/tty.ts";
import { enterRawMode } from "../../../platform/tty/raw-mode.ts";
import { OutputUnread } from "../../shared/unread.ts";
import type { RemoteStreams } from "./open.ts";
import { type Outcome, readOutcome } from "./outcome.ts";

/** How this side behaves. */
export interface SessionOptions {
  readonly stdin: boolean;
  readonly tty: boolean;
  /** Ends the session from outside. */
  readonly signal: AbortSignal;
}

/** @throws invalid-argument when a terminal is wanted and there is none */
export function checkTerminal(options: Pick<SessionOptions, "stdin" | "tty">): void {
  if (!options.tty) return;
  if (!options.stdin)
    throw invalidArgument("tty=true must be specified with interactive=true", { hint: "use -it" });
  if (!isatty(0))
    throw invalidArgument("input is not a terminal", { hint: "leave out -t: -i alone sends piped input" });
}

/** Runs until the process has ended and its output is written, or the user detaches. */
export async function runSession(streams: RemoteStreams, options: SessionOptions): Promise<Outcome> {
  using _raw = options.tty ? enterRawMode(0) : { [Symbol.dispose]() {} };
  using _size = options.tty ? followSize(streams) : { [Symbol.dispose]() {} };
  const stop = new AbortController();
  let detached = false;
  const cut = (): void => {
    streams.destroy();
  };
  options.signal.addEventListener("abort", cut, { once: true });
  const input =
    options.stdin && streams.stdin !== undefined
      ? sendInput(streams.stdin, options.tty, stop.signal).then((why) => {
          if (why !== "detach") return;
          detached = true;
          streams.destroy();
        })
      : Promise.resolve();
  const outcome = readOutcome(streams.error, streams.version);
  try {
    await Promise.all([receive(streams.stdout, 1), receive(streams.stderr, 2)]);
    const end = await outcome;
    return detached ? { code: 0, message: "" } : end;
  } catch (err) {
    if (err instanceof OutputUnread) {
      outcome.catch(() => {});
      streams.destroy();
    }
    throw err;
  } finally {
    options.signal.removeEventListener("abort", cut);
    stop.abort();
    await Promise.race([input.catch(() => {}), Promise.resolve()]);
    await streams.end();
  }
}

/**
 * Copies to one of our fds.
 * @throws OutputUnread when the reader of our stdout went away (`| head`); of stderr the rest is dropped
 */
async function receive(source: ByteSource | undefined, fd: 1 | 2): Promise<void> {
  if (source === undefined) return;
  const sink = createFdSink(fd);
  let open = true;
  try {
    for await (const chunk of source) {
      if (!open) continue;
      try {
        await sink.write(chunk);
      } catch (err) {
        if (fd === 1 && err instanceof Error && "code" in err && err.code === "EPIPE")
          throw new OutputUnread();
        open = false;
      }
    }
  } finally {
    await sink.close().catch(() => {});
  }
}

const CTRL_P = 0x10;
const CTRL_Q = 0x11;

/** Sends what is typed or piped in; half-closes at its end. */
async function sendInput(stdin: ByteSink, tty: boolean, signal: AbortSignal): Promise<"end" | "detach"> {
  const keys = tty ? new DetachKeys() : undefined;
  try {
    for await (const chunk of readFd(0, signal)) {
      const bytes = keys === undefined ? chunk : keys.filter(chunk);
      if (bytes === undefined) return "detach";
      if (bytes.length > 0) await stdin.write(bytes);
    }
  } catch (err) {
    if (!signal.aborted && !/closed|gone/.test(messageOf(err))) throw err;
  }
  if (!signal.aborted) await stdin.close();
  return "end";
}

/** Finds ctrl-p ctrl-q; a ctrl-p alone is held back until the next key. */
export class DetachKeys {
  #held = false;

  /** @returns what to send, or undefined when the keys were typed */
  filter(chunk: Uint8Array): Uint8Array | undefined {
    const out: number[] = [];
    for (const byte of chunk) {
      if (this.#held) {
        if (byte === CTRL_Q) return undefined;
        out.push(CTRL_P);
        this.#held = false;
      }
      if (byte === CTRL_P) this.#held = true;
      else out.push(byte);
    }
    return Uint8Array.from(out);
  }
}

/** Sends the terminal's size now and whenever it changes. */
function followSize(streams: RemoteStreams): Disposable {
  const tell = (): void => {
    const { columns, rows } = process.stdout;
    if (columns > 0 && rows > 0) void streams.resize({ columns, rows }).catch(() => {});
  };
  tell();
  process.on("SIGWINCH", tell);
  return {
    [Symbol.dispose]() {
      process.off("SIGWINCH", tell);
    },
  };
}
