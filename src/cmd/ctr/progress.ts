/**
 * Shows a transfer: on a terminal one line per part with a bar, redrawn in place; elsewhere one line for each thing that
 * happened. Takes the progress of our own transfers and that of any server's transfer service.
 */

import type { Progress } from "../../core/transfer/transfer.ts";
import { formatSize } from "../../lib/human.ts";
import { stdoutStream } from "../shared/output.ts";

/** Where to draw; stdoutStream() fits. */
export interface Screen {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  write(text: string): unknown;
}

interface Part {
  readonly name: string;
  status: string;
  done: bigint;
  total: bigint;
  /** Bytes that came over the network. */
  moved: bigint;
}

const REDRAW_MS = 100;
const BAR = 38;
/** Columns of the shortest bar that says something. */
const LEAST_BAR = 8;
/** Bytes of a part whose start is worth a line. */
const LARGE = 8n << 20n;
const MOVING = new Set(["converting", "downloading", "uploading", "importing", "exporting"]);
/** What a blob may turn out to be. */
const KINDS = ["layer", "manifest", "index", "config"];
const FINISHED = new Set([
  "complete",
  "already exists",
  "exists",
  "extracted",
  "resolved",
  "saved",
  "done",
  "mounted",
]);

/** One transfer on a screen. Call `end` whatever happens. */
export class ProgressView {
  readonly #screen: Screen;
  readonly #now: () => number;
  readonly #started: number;
  readonly #parts = new Map<string, Part>();
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  #drawn = 0;

  constructor(screen: Screen = stdoutStream(), now: () => number = () => performance.now()) {
    this.#screen = screen;
    this.#now = now;
    this.#started = now();
    if (screen.isTTY === true) {
      this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
      this.#timer.unref();
    }
  }

  /** Takes one step. */
  readonly update = (p: Progress): void => {
    if (p.name === "" && p.desc === undefined) return;
    const part = this.#part(p.name);
    const before = part.status;
    part.status = p.event;
    if (p.total > 0n) part.total = p.total;
    part.done = p.progress;
    if (MOVING.has(p.event) && p.progress > part.moved) part.moved = p.progress;
    // a small part may arrive between two steps
    if (p.event === "complete" && MOVING.has(before)) part.moved = part.total;
    if (this.#timer === undefined && before !== p.event) this.#line(part);
  };

  #part(given: string): Part {
    const [, kind, digest] = /^(\w+)-(sha\d+:[0-9a-f]+)$/.exec(given) ?? [];
    // archives say what a blob is after it came: one part of the picture, under its better name
    const name = kind === "unknown" ? `blob-${digest}` : given;
    if (kind === "unknown")
      for (const known of KINDS) {
        const same = this.#parts.get(`${known}-${digest}`);
        if (same !== undefined) return same;
      }
    let part = this.#parts.get(name);
    const blob = part === undefined && digest !== undefined ? this.#parts.get(`blob-${digest}`) : undefined;
    if (blob !== undefined) {
      this.#parts.delete(blob.name);
      part = { ...blob, name };
      this.#parts.set(name, part);
    }
    if (part === undefined) {
      part = { name, status: "", done: 0n, total: 0n, moved: 0n };
      this.#parts.set(name, part);
    }
    return part;
  }

  #line(part: Part): void {
    if (part.status === "waiting") return;
    // the start of something short is no news
    if ((MOVING.has(part.status) || part.status === "extracting") && part.total < LARGE) return;
    const size = part.total > 0n ? ` (${formatSize(part.total)})` : "";
    this.#screen.write(`${part.name}: ${part.status}${size}\n`);
  }

  /** Draws the last state and the sums. `failed` leaves the sums out. */
  end(failed = false): void {
    if (this.#timer !== undefined) {
      clearInterval(this.#timer);
      this.#draw(true);
    } else if (!failed && this.#parts.size > 0) this.#screen.write(`${this.#sums()}\n`);
  }

  #sums(): string {
    const seconds = (this.#now() - this.#started) / 1000;
    const moved = [...this.#parts.values()].reduce((n, p) => n + p.moved, 0n);
    const rate = seconds > 0 ? Number(moved) / seconds : 0;
    return `elapsed: ${seconds.toFixed(1)} s  total: ${formatSize(moved)} (${formatSize(BigInt(Math.round(rate)))}/s)`;
  }

  #draw(last = false): void {
    if (this.#parts.size === 0) return;
    const columns = this.#screen.columns ?? 80;
    // what does not fit cannot be redrawn: parts that are done are left out first
    const room = last ? Number.POSITIVE_INFINITY : Math.max(3, (this.#screen.rows ?? 24) - 2);
    let parts = [...this.#parts.values()];
    if (parts.length > room) parts = parts.filter((p) => !FINISHED.has(p.status));
    if (parts.length > room) parts = parts.slice(0, room);
    const lines = [...partLines(parts, columns), this.#sums().slice(0, columns - 1)];
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    this.#screen.write(`${up}${lines.map((l) => `\x1b[2K${l}\n`).join("")}\x1b[J`);
    this.#drawn = lines.length;
  }
}

/** Lines cut to `columns`. */
function partLines(parts: readonly Part[], columns: number): string[] {
  // digests are cut when the terminal is too narrow for them and a bar
  const longest = Math.max(...parts.map((p) => p.name.length));
  const cut = longest + BAR + 40 > columns;
  const names = parts.map((p) => `${cut ? p.name.replace(/(sha\d+:[0-9a-f]{12})[0-9a-f]+/, "$1") : p.name}:`);
  const name = Math.min(Math.max(...names.map((n) => n.length)), Math.max(20, columns - 40));
  const bar = Math.min(BAR, columns - name - 40);
  return parts.map((p, i) => {
    const label = (names[i] ?? "").slice(0, name).padEnd(name + 1);
    // a line that is longer than the screen would take two of them, and the next picture start too low
    const fit = (text: string): string => text.slice(0, columns - 1);
    // the image itself has no size: what is done with it now, in words
    if (p.total === 0n) return fit(`${label}${p.status}`);
    if (bar < LEAST_BAR)
      return fit(`${label}${p.status.padEnd(15)}${MOVING.has(p.status) ? bytesOf(p) : ""}`);
    return `${label}${p.status.slice(0, 14).padEnd(15)}${drawBar(p, bar)}`;
  });
}

const bytesOf = (p: Part): string => `${formatSize(p.done)}/${formatSize(p.total)}`;
// NO_COLOR: https://no-color.org, any value but the empty one
const green = (text: string): string =>
  (process.env["NO_COLOR"] ?? "") === "" ? `\x1b[32m${text}\x1b[0m` : text;

function drawBar(p: Part, width: number): string {
  if (FINISHED.has(p.status)) return `|${green("+".repeat(width))}|`;
  if (!MOVING.has(p.status) && p.status !== "extracting") return `|${"-".repeat(width)}|`;
  const filled = Math.min(width, Number((p.done * BigInt(width)) / p.total));
  return `|${green("+".repeat(filled))}${"-".repeat(width - filled)}| ${bytesOf(p)}`;
}
