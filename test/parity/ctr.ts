/** Runs our `ctr` and Debian's against one daemon, for side by side comparison. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { type Ctr, type Daemon, type PeerVersion, peerCtr, type Said } from "../peers/peer.ts";

const ROOT = join(import.meta.dirname, "../..");

/** Our client from source, on the runtime that runs the test. */
export function ourCtr(address: string, timeout = 60_000): Ctr {
  return (...args) => {
    const lead = "Deno" in globalThis ? ["run", "-A"] : [];
    const done = spawnSync(
      process.execPath,
      [...lead, join(ROOT, "src/main.ts"), "ctr", "-a", address, ...args],
      {
        encoding: "utf8",
        timeout,
      },
    );
    const err = done.error === undefined ? done.stderr : String(done.error);
    return { code: done.status ?? 128, out: done.stdout ?? "", err };
  };
}

/** An age, or the header over it, with the tabs behind. */
const AGE = /(?:AGE|Less than a second|About a minute|About an hour|\d+ (?:second|minute)s?)\t+/g;

/** Both clients on one daemon. */
export interface Pair {
  readonly ours: Ctr;
  readonly theirs: Ctr;
  /** Runs a command that changes nothing with both: same output, same code. @returns what they said */
  same(...args: readonly string[]): Said;
  /** The same, with ages masked (the clock goes on between the two) and labels sorted (1.6 prints them in any order). */
  sameButAge(...args: readonly string[]): Said;
}

export function pairOn(daemon: Daemon, version: PeerVersion): Pair {
  const ours = ourCtr(daemon.address);
  const theirs = peerCtr(version, daemon.address);
  const compare = (args: readonly string[], mask: (out: string) => string): Said => {
    const want = theirs(...args);
    const got = ours(...args);
    assert.equal(mask(got.out), mask(want.out), `ctr ${args.join(" ")}: ${got.err}`);
    assert.equal(got.code, want.code, `ctr ${args.join(" ")}: ${got.err}`);
    return got;
  };
  return {
    ours,
    theirs,
    same: (...args) => compare(args, (out) => out),
    sameButAge: (...args) =>
      compare(args, (out) =>
        out.replace(AGE, "AGE\t").replace(/[^\t\n]+$/gm, (labels) => labels.split(",").sort().join()),
      ),
  };
}

/** Output of a command that must succeed. */
export function ok(said: Said): string {
  assert.equal(said.code, 0, said.err + said.out);
  return said.out;
}
