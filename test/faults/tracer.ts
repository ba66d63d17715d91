/** strace on the main thread of a process: which system calls it makes, and faults at chosen ones. */
import { spawn } from "node:child_process";

/** One system call of a process: the `nth` of its name, counted from 1 (as strace counts). */
export interface CallPoint {
  readonly name: string;
  readonly nth: number;
}

/** A tracer at work. */
export interface Tracer {
  /** Resolves when it has ended: with the process, or by {@link stop}. */
  readonly over: Promise<void>;
  /** The calls so far, as strace prints them. Whole after {@link over}. */
  readonly lines: readonly string[];
  /** Lets go of the process. */
  stop(): Promise<void>;
}

/**
 * @param calls names with commas between them
 * @param fault what happens at one of them, as in strace(1), `--inject`: `signal=KILL`, `error=EIO`
 * @throws when strace cannot trace
 */
export async function trace(
  pid: number,
  calls: string,
  fault?: { readonly at: CallPoint; readonly what: string },
): Promise<Tracer> {
  const inject =
    fault === undefined ? [] : ["-e", `inject=${fault.at.name}:${fault.what}:when=${fault.at.nth}`];
  const tracer = spawn("strace", ["-p", String(pid), "-s", "64", "-e", `trace=${calls}`, ...inject], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const over = new Promise<void>((resolve) => tracer.once("close", () => resolve()));
  const lines: string[] = [];
  let rest = "";
  await new Promise<void>((resolve, reject) => {
    tracer.once("error", reject);
    tracer.once("exit", () => reject(new Error(`strace ended: ${rest}`)));
    tracer.stderr.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) {
        if (/^\w+\(/.test(line)) lines.push(line);
        else if (line.includes("attached")) resolve();
      }
    });
  });
  return {
    over,
    lines,
    async stop() {
      if (tracer.exitCode === null && tracer.signalCode === null) tracer.kill("SIGTERM");
      await over;
    },
  };
}

/** Where each of those calls is found again in another run of the same. */
export function pointsOf(lines: readonly string[]): readonly CallPoint[] {
  const seen = new Map<string, number>();
  return lines.map((line) => {
    const name = line.slice(0, line.indexOf("("));
    const nth = (seen.get(name) ?? 0) + 1;
    seen.set(name, nth);
    return { name, nth };
  });
}
