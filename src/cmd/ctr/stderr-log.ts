/** A log for a person who asked for details: one line each on stderr. */

import { messageOf } from "../../core/errors.ts";
import type { LogFields, Logger } from "../../core/log.ts";
import { toStderr } from "../shared/output.ts";

/** Writes every level. */
export function stderrLog(base: LogFields = {}): Logger {
  const line =
    (level: string) =>
    (message: string, fields: LogFields = {}): void => {
      const all = Object.entries({ ...base, ...fields }).map(
        ([k, v]) => ` ${k}=${v instanceof Error ? messageOf(v) : JSON.stringify(v)}`,
      );
      toStderr(`${level} ${message}${all.join("")}\n`);
    };
  return {
    debug: line("debug"),
    info: line("info"),
    warn: line("warn"),
    error: line("error"),
    child: (fields) => stderrLog({ ...base, ...fields }),
  };
}
