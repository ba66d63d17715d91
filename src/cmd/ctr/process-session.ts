/** Runs one process of a task in the foreground: signals, terminal size, stdin, output, exit code. */

import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound } from "../../core/errors.ts";
import type { Exit, TaskService } from "../../core/tasks/tasks.ts";
import { enterRawMode } from "../../platform/tty/raw-mode.ts";
import { passSignalsOn } from "../shared/interrupt.ts";
import { stdoutStream, toStderr } from "../shared/output.ts";
import { OutputUnread, UNREAD_STATUS } from "../shared/unread.ts";
import { parseSignal } from "./signals.ts";
import type { ClientStdio } from "./stdio.ts";

/** Signals passed on to the process. */
const FORWARDED = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;

/** A process with its stdio. */
export interface Session {
  readonly tasks: TaskService;
  readonly call: NamespacedCall;
  readonly id: string;
  readonly execId: string;
  readonly io: ClientStdio;
  readonly terminal: boolean;
  /** The process lives on when nobody reads its output here any more. Default: false, it is ended. */
  readonly keep?: boolean;
}

/** How long a process may take to end after it was told that nobody reads it, in milliseconds. */
const UNREAD_MS = 2000;

/**
 * Starts the process, waits for its end and for its output. `wait` is asked before `start`, so that no exit is missed.
 * @param end what else is to be done about the end, while the last output comes
 * @returns how it ended; with status 141 when its output's reader was gone first
 * @throws OutputUnread for a process that is kept
 */
export async function runForeground(
  s: Session,
  start: boolean,
  started: (pid: number) => void = () => {},
  end: () => Promise<unknown> = async () => {},
): Promise<Exit> {
  using _raw = s.terminal && process.stdin.isTTY === true ? enterRawMode(0) : { [Symbol.dispose]() {} };
  const exit = s.tasks.wait(s.call, s.id, s.execId);
  let ended = false;
  exit.then(
    () => {
      ended = true;
    },
    () => {},
  );
  if (start) started(await s.tasks.start(s.call, s.id, s.execId));
  s.io.opened();
  using _size = s.terminal ? followSize(s) : { [Symbol.dispose]() {} };
  using _signals = s.terminal ? { [Symbol.dispose]() {} } : forwardSignals(s, start);
  s.io.copyStdin(() => {
    // the answer to `wait` may have come along with that to `start`
    setImmediate(() => {
      if (!ended) void s.tasks.closeIO(s.call, s.id, s.execId, true).catch(() => {});
    });
  });
  const unread = s.io.unread.then(() => undefined);
  let status = await Promise.race([exit, unread]);
  if (status !== undefined) {
    await Promise.all([s.io.drained(), end()]);
    return status;
  }
  if (s.keep === true) throw new OutputUnread();
  status = { ...(await endUnread(s, exit)), status: UNREAD_STATUS };
  await end();
  return status;
}

/** Ends a process as a pipe's end does, one that does not mind by force. */
async function endUnread(s: Session, exit: Promise<Exit>): Promise<Exit> {
  const call = s.call.detached(10_000);
  const kill = (signal: string): Promise<void> =>
    s.tasks.kill(call, s.id, s.execId, parseSignal(signal), false).catch(() => {});
  // the first process of a pid namespace minds only what it handles: programs that stop by SIGTERM do
  await kill(s.execId === "" ? "SIGTERM" : "SIGPIPE");
  const force = setTimeout(() => void kill("SIGKILL"), UNREAD_MS);
  try {
    return await exit;
  } finally {
    clearTimeout(force);
  }
}

/** @param ours whether the process is this client's: then the third Ctrl-C ends one that does not mind */
function forwardSignals(s: Session, ours: boolean): Disposable {
  const passed = passSignalsOn();
  let interrupts = 0;
  const insist = (): void => {
    interrupts++;
    if (interrupts === 2) toStderr("\nthe process does not mind SIGINT; once more kills it\n");
    if (interrupts > 2)
      void s.tasks.kill(s.call, s.id, s.execId, parseSignal("SIGKILL"), false).catch(() => {});
  };
  const handlers = FORWARDED.map((name) => {
    const handler = (): void => {
      if (name === "SIGINT" && ours) insist();
      void s.tasks.kill(s.call, s.id, s.execId, parseSignal(name), false).catch((err: unknown) => {
        if (!isNotFound(err))
          toStderr(`ctr: forward signal ${name}: ${err instanceof Error ? err.message : String(err)}\n`);
      });
    };
    process.on(name, handler);
    return { name, handler };
  });
  return {
    [Symbol.dispose]() {
      for (const { name, handler } of handlers) process.off(name, handler);
      passed[Symbol.dispose]();
    },
  };
}

function followSize(s: Session): Disposable {
  // one at a time, the last size last: shims answer concurrent requests in any order
  let sending = false;
  let changed = false;
  const send = async (): Promise<void> => {
    sending = true;
    while (changed) {
      changed = false;
      const { columns, rows } = stdoutStream();
      if (columns > 0 && rows > 0)
        await s.tasks.resizePty(s.call, s.id, s.execId, columns, rows).catch(() => {});
    }
    sending = false;
  };
  const tell = (): void => {
    changed = true;
    if (!sending) void send();
  };
  tell();
  process.on("SIGWINCH", tell);
  return {
    [Symbol.dispose]() {
      process.off("SIGWINCH", tell);
    },
  };
}
