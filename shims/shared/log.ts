/** The shim's log: logrus-like lines into the `log` FIFO of the bundle, which the daemon copies into its own log. */

import type { LogFields, Logger } from "../../src/core/log.ts";
import { formatRfc3339, nowNs } from "../../src/lib/time.ts";
import { O_NONBLOCK, O_RDWR } from "../../src/platform/syscalls/constants.ts";
import { close, open, tryWrite } from "../../src/platform/syscalls/files.ts";

export interface ShimLog {
  readonly log: Logger;
  moveTo(path: string): void;
  /** The open FIFO. */
  readonly fd: number | undefined;
}

/**
 * Opens the log FIFO at `path`, or takes over an fd of it. Lines are dropped, never waited for, when nobody reads or the FIFO is missing: a log must
 * not stop a container.
 */
export function openLog(path: string, debug: boolean, adopted?: number): ShimLog {
  let fd = adopted;
  const moveTo = (where: string): void => {
    if (fd !== undefined) close(fd);
    fd = undefined;
    try {
      // Read-write: neither waits for a reader nor fails without one.
      fd = open(where, O_RDWR | O_NONBLOCK);
    } catch {
      // Nobody reads it.
    }
  };
  if (adopted === undefined) moveTo(path);
  const write = (line: string): void => {
    if (fd !== undefined) tryWrite(fd, new TextEncoder().encode(line));
  };
  return {
    log: loggerTo(write, debug, {}),
    moveTo,
    get fd() {
      return fd;
    },
  };
}

/** A logger that hands finished lines to `write`. */
export function loggerTo(write: (line: string) => void, debug: boolean, base: LogFields): Logger {
  const emit = (level: string, message: string, fields: LogFields = {}): void => {
    const all = Object.entries({ ...base, ...fields })
      .map(([key, value]) => ` ${key === "err" ? "error" : key}=${quote(text(value))}`)
      .join("");
    write(`time="${formatRfc3339(nowNs())}" level=${level} msg=${quote(message)}${all}\n`);
  };
  return {
    debug: (message, fields) => {
      if (debug) emit("debug", message, fields);
    },
    info: (message, fields) => emit("info", message, fields),
    warn: (message, fields) => emit("warning", message, fields),
    error: (message, fields) => emit("error", message, fields),
    child: (fields) => loggerTo(write, debug, { ...base, ...fields }),
  };
}

function text(value: unknown): string {
  return value instanceof Error ? value.message : typeof value === "string" ? value : String(value);
}

function quote(value: string): string {
  return /^[\w./:@-]+$/.test(value) ? value : JSON.stringify(value);
}
