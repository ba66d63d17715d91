/** Structured log sink. Implemented over pino in `cmd/`, by a recorder in tests; fields must never hold secrets. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger;
}

/** Fields of one log line. An `err` field may hold any thrown value. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Drops everything; for tests and short-lived clients. */
export const noLog: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child() {
    return noLog;
  },
};
