/**
 * The daemon's logger: pino with a synchronous destination (its worker transports fail in the compiled executable),
 * written in containerd's text or JSON line format.
 */
import { writeSync } from "node:fs";
import { type Logger as PinoLogger, pino } from "pino";
import { GantryError, messageOf } from "../../core/errors.ts";
import type { LogFields, Logger } from "../../core/log.ts";

/** Level names of the config file; `panic` is what pino calls fatal. */
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "panic"] as const;
export type LogLevel = (typeof LEVELS)[number];

/** How the daemon logs. Mutable: a reload changes it for every logger made from it. */
export interface LogSettings {
  level: LogLevel;
  format: "text" | "json";
}

/** Parses a level; `warning` is accepted. */
export function parseLevel(text: string): LogLevel | undefined {
  const name = text.toLowerCase() === "warning" ? "warn" : text.toLowerCase();
  return LEVELS.find((l) => l === name);
}

/** Makes the logger on a file descriptor. */
export function createLogger(settings: LogSettings, fd = 2): Logger {
  const destination = {
    write(line: string): void {
      try {
        writeSync(fd, settings.format === "json" ? line : textLine(line));
      } catch {
        // a full pipe or a closed stderr must not end the daemon; there is nowhere else to tell
      }
    },
  };
  const root = pino(
    {
      level: "trace",
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label === "warn" ? "warning" : label }) },
    },
    destination,
  );
  // pino itself stays open: a level kept per child logger could not be changed by a reload
  const on = (level: LogLevel): boolean => LEVELS.indexOf(level) >= LEVELS.indexOf(settings.level);
  const face = (log: PinoLogger): Logger => ({
    debug: (m, f) => on("debug") && log.debug(plain(f), m),
    info: (m, f) => on("info") && log.info(plain(f), m),
    warn: (m, f) => on("warn") && log.warn(plain(f), m),
    error: (m, f) => on("error") && log.error(plain(f), m),
    child: (f) => face(log.child(plain(f))),
  });
  return face(root);
}

/** Fields as JSON can hold them; errors become their text. */
function plain(fields: LogFields | undefined): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields ?? {})) {
    if (value !== undefined) out[key === "err" ? "error" : key] = plainValue(value);
  }
  return out;
}

function plainValue(value: unknown): unknown {
  if (value instanceof GantryError) return value.wireMessage;
  if (value instanceof Error) return messageOf(value);
  return typeof value === "bigint" ? value.toString() : value;
}

/** One JSON line as logfmt, in containerd's order: time, level, msg, then the rest by name. */
function textLine(line: string): string {
  const { time, level, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  let out = `time=${JSON.stringify(time)} level=${String(level)} msg=${JSON.stringify(msg)}`;
  for (const key of Object.keys(rest).sort()) {
    const value = rest[key];
    out += ` ${key}=${quoteIfNeeded(typeof value === "string" ? value : JSON.stringify(value))}`;
  }
  return `${out}\n`;
}

function quoteIfNeeded(text: string): string {
  return /^[A-Za-z0-9\-._/@^+:]+$/.test(text) ? text : JSON.stringify(text);
}
