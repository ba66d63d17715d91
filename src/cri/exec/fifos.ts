import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Stdio } from "../../core/tasks/tasks.ts";
import { createFifo, type FifoReader, openFifoReader } from "../../platform/fs/fifo.ts";
import { close } from "../../platform/syscalls/files.ts";

/** Which streams a process gets. */
export interface WantedStreams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** FIFOs between a shim and this daemon: the shim opens them by name, we read what the process writes. */
export interface Fifos {
  readonly stdio: Stdio;
  /** fd to read, non-blocking; undefined when not wanted. */
  readonly stdout: number | undefined;
  readonly stderr: number | undefined;
  /** Call when the other side has opened its ends: from now on their close is the end of file. */
  opened(): void;
  /** Closes and removes everything. Idempotent. */
  dispose(): void;
}

/** Makes FIFOs in a new folder below `parent`. */
export function makeFifos(parent: string, wanted: WantedStreams): Fifos {
  const dir = join(parent, randomBytes(8).toString("hex"));
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const readers: FifoReader[] = [];
  let done = false;
  const dispose = (): void => {
    if (done) return;
    done = true;
    for (const reader of readers) {
      reader.release();
      close(reader.fd);
    }
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const make = (name: string, yes: boolean): string => {
      if (!yes) return "";
      const path = join(dir, name);
      createFifo(path, 0o600);
      return path;
    };
    const stdin = make("stdin", wanted.stdin);
    const stdout = make("stdout", wanted.stdout);
    const stderr = make("stderr", wanted.stderr && !wanted.tty);
    const reader = (path: string): number | undefined => {
      if (path === "") return undefined;
      const opened = openFifoReader(path);
      readers.push(opened);
      return opened.fd;
    };
    return {
      stdio: { stdin, stdout, stderr, terminal: wanted.tty },
      stdout: reader(stdout),
      stderr: reader(stderr),
      opened() {
        for (const each of readers) each.release();
      },
      dispose,
    };
  } catch (err) {
    dispose();
    throw err;
  }
}
