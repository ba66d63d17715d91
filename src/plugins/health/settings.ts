/** What the health labels of a container say. */
import type { Labels } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import { parseDuration } from "../../core/gc/labels.ts";

export const HEALTH_PREFIX = "gantry.health/";
/** The command; its presence puts a container under the monitor. */
export const CMD_LABEL = `${HEALTH_PREFIX}cmd`;
/** `starting`, `healthy`, `unhealthy`: written by the monitor. */
export const STATUS_LABEL = `${HEALTH_PREFIX}status`;

/** Settings of one container; times in milliseconds. */
export interface HealthSettings {
  /** Words of the command. */
  readonly args: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Failures in a row that make it unhealthy. */
  readonly retries: number;
  /** Failures in this time after the start do not count. */
  readonly startPeriodMs: number;
  /** The container is killed when it becomes unhealthy. */
  readonly kill: boolean;
}

/** Reads the labels. @returns undefined without a command. @throws invalid-argument naming the label */
export function parseHealth(labels: Labels): HealthSettings | undefined {
  const cmd = labels.get(CMD_LABEL) ?? "";
  if (cmd === "") return undefined;
  const onFailure = labels.get(`${HEALTH_PREFIX}on-failure`) ?? "none";
  if (onFailure !== "none" && onFailure !== "kill")
    throw invalidArgument(`label ${HEALTH_PREFIX}on-failure "${onFailure}": want none or kill`);
  return {
    args: wordsOf(cmd),
    intervalMs: duration(labels, "interval", "30s", 1),
    timeoutMs: duration(labels, "timeout", "30s", 1),
    retries: count(labels, "retries", 3),
    startPeriodMs: duration(labels, "start-period", "0s", 0),
    kill: onFailure === "kill",
  };
}

/** A JSON list of words, or a command line for a shell. */
function wordsOf(cmd: string): string[] {
  if (!cmd.trimStart().startsWith("[")) return ["sh", "-c", cmd];
  try {
    const words: unknown = JSON.parse(cmd);
    if (Array.isArray(words) && words.length > 0 && words.every((w) => typeof w === "string")) return words;
  } catch {
    // told below
  }
  throw invalidArgument(`label ${CMD_LABEL} "${cmd}": not a JSON list of words`);
}

function duration(labels: Labels, name: string, fallback: string, least: number): number {
  const text = labels.get(HEALTH_PREFIX + name) ?? fallback;
  const ns = parseDuration(text);
  const ms = ns === undefined ? -1 : Number(ns / 1_000_000n);
  if (ms < least)
    throw invalidArgument(`label ${HEALTH_PREFIX}${name} "${text}": want a duration such as "30s"`);
  return ms;
}

function count(labels: Labels, name: string, fallback: number): number {
  const text = labels.get(HEALTH_PREFIX + name);
  if (text === undefined) return fallback;
  if (!/^[1-9]\d{0,5}$/.test(text))
    throw invalidArgument(`label ${HEALTH_PREFIX}${name} "${text}": want a number of at least 1`);
  return Number(text);
}
