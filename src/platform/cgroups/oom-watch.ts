import { watch } from "node:fs";
import { utf8Encode } from "../../lib/bytes.ts";
import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { readFd } from "../fs/fd-stream.ts";
import { O_RDONLY, O_WRONLY } from "../syscalls/constants.ts";
import { check, isErrno } from "../syscalls/errors.ts";
import { close, open, tryRead, tryWrite, writeAll } from "../syscalls/files.ts";

const cEventfd = libc("eventfd", ["u32", "i32"]);
/** A watch, until it is disposed of. */
export interface OomWatch extends Disposable {
  /**
   * Files that tell of the next event to a program that this process becomes: it waits for `poll` in `events` and keeps the others
   * open. What came before is to be looked up after this call. Files in `made` are the caller's to close.
   */
  rest(): OomRest;
}

export interface OomRest {
  readonly poll: number;
  readonly events: number;
  readonly keep: readonly number[];
  readonly made: readonly number[];
}

const POLLIN = 1;
const POLLPRI = 2;

const EFD_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;

/**
 * Calls `onEvent` whenever the kernel reports memory pressure or its end in a v1 memory cgroup: look at the counter then.
 * @returns undefined when there is no such cgroup
 */
export function watchV1(dir: string, onEvent: () => void): OomWatch | undefined {
  const opened: number[] = [];
  try {
    opened.push(open(`${dir}/memory.oom_control`, O_RDONLY));
    const event = check("eventfd", cEventfd(0, EFD_NONBLOCK_CLOEXEC));
    opened.push(event);
    const control = open(`${dir}/cgroup.event_control`, O_WRONLY);
    opened.push(control);
    writeAll(control, utf8Encode(`${event} ${opened[0]}`));
    close(control);
    opened.pop();
    const stop = new AbortController();
    void (async () => {
      try {
        for await (const _ of readFd(event, stop.signal)) if (!stop.signal.aborted) onEvent();
      } catch {
        // The event is a hint; the counter is also read when the container exits.
      }
    })();
    return {
      rest: () => ({ poll: event, events: POLLIN, keep: opened, made: [] }),
      [Symbol.dispose]() {
        if (stop.signal.aborted) return;
        stop.abort();
        // Wakes a thread that sits in read().
        const one = alloc(8);
        view(one).setBigUint64(0, 1n, true);
        tryWrite(event, one.subarray(0, 8));
        for (const fd of opened) close(fd);
      },
    };
  } catch (error) {
    for (const fd of opened) close(fd);
    if (isErrno(error, "ENOENT", "ENODEV")) return undefined;
    throw error;
  }
}

/** As {@link watchV1} for the unified hierarchy: the kernel signals changes of memory.events to inotify. */
export function watchV2(dir: string, onEvent: () => void): OomWatch | undefined {
  try {
    const watcher = watch(`${dir}/memory.events`, { persistent: false }, onEvent);
    watcher.on("error", () => watcher.close());
    return {
      rest() {
        // The kernel marks such a file when it has changed since it was read.
        const file = open(`${dir}/memory.events`, O_RDONLY);
        tryRead(file, alloc(512));
        return { poll: file, events: POLLPRI, keep: [file], made: [file] };
      },
      [Symbol.dispose]: () => watcher.close(),
    };
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENODEV")) return undefined;
    throw error;
  }
}
