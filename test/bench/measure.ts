/** Timing and memory figures for benchmarks. */
import { readFileSync } from "node:fs";

/** One line of the table. `ours` and `reference` hold every sample. */
export interface Row {
  readonly id: string;
  readonly what: string;
  readonly unit: "ms" | "s" | "MB" | "/s" | "MB/s" | "x";
  readonly ours: readonly number[];
  readonly reference: readonly number[];
  /** The goal of docs/performance: the ratio must be at most this (at least, for rates). */
  readonly goal?: number;
  readonly note?: string;
}

/** The middle sample; NaN without samples. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => unknown): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

/**
 * Measures several subjects in turn, the order reversed every round, after one round that does not count: what one leaves in the
 * caches then helps and hurts all alike.
 */
export async function interleave<K extends string>(
  rounds: number,
  subjects: Readonly<Record<K, (round: number) => Promise<number>>>,
): Promise<Record<K, number[]>> {
  const names = Object.keys(subjects) as K[];
  const out = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<K, number[]>;
  for (let round = -1; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : [...names].reverse()) {
      const value = await subjects[name](round);
      if (round >= 0) out[name].push(value);
    }
  }
  return out;
}

/** Proportional set size and private dirty memory of processes, in MB. */
export function memory(pids: readonly number[]): { readonly pss: number; readonly dirty: number } {
  let pss = 0;
  let dirty = 0;
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    pss += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0) / 1024;
    dirty += Number(/^Private_Dirty:\s+(\d+)/m.exec(text)?.[1] ?? 0) / 1024;
  }
  return { pss, dirty };
}

/** The table, ready to print. */
export function table(rows: readonly Row[]): string {
  const lines = [["", "what", "ours", "containerd", "ratio", "goal", ""]];
  for (const row of rows) {
    const ours = median(row.ours);
    const reference = median(row.reference);
    const ratio = ours / reference;
    const rate = row.unit.endsWith("/s");
    const met =
      row.goal === undefined ? "" : (rate ? ratio >= row.goal : ratio <= row.goal) ? "met" : "MISSED";
    const goal = row.goal === undefined ? "" : `${rate ? ">=" : "<="} ${row.goal.toFixed(2)}`;
    const figure = (n: number): string =>
      Number.isNaN(n) ? "-" : `${n.toFixed(n < 100 ? 1 : 0)} ${row.unit}`;
    const note = [met, row.note].filter(Boolean).join("; ");
    lines.push([
      row.id,
      row.what,
      figure(ours),
      figure(reference),
      Number.isNaN(ratio) ? "-" : ratio.toFixed(2),
      goal,
      note,
    ]);
  }
  const widths = lines[0]?.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0))) ?? [];
  const right = (i: number): boolean => i >= 2 && i <= 4;
  return lines
    .map((line) =>
      line
        .map((cell, i) => (right(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
        .join("  "),
    )
    .map((line) => line.trimEnd())
    .join("\n");
}
