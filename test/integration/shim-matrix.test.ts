/**
 * Runtime v2 in both directions: our daemon with our shim and with Debian's Go shim, Debian's containerd 1.6 and 1.7 with ours,
 * given by absolute path; with runc and with crun. The scenarios are those of the other suites. Needs root, runc; crun is left
 * out, with a message, where it is missing or cannot run a container at all.
 *
 * `GANTRY_MATRIX=all` runs every scenario in every combination; without it crun and the second peer run the short ones.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readlinkSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { peerBin } from "../peers/peer.ts";
import { steadyCensus } from "./census.ts";
import { Client, type Running, type RunOptions } from "./client.ts";
import type { EngineKind } from "./engine.ts";
import { ourBin } from "./program.ts";
import { containerScenarios } from "./scenarios/containers.ts";
import { type Bed, giveBack, leftNothing, makeBed } from "./suite.ts";

const SHIM = "containerd-shim-runc-v2";
const CRUN = "/usr/bin/crun";

/** A pair of daemon and shim. `shim` undefined = what the daemon takes by itself. */
interface Pair {
  readonly name: string;
  readonly engine: EngineKind;
  readonly shim: () => string | undefined;
}

const ours = (): string => join(ourBin(), SHIM);
const theirs = (): string => join(peerBin("1.6"), SHIM);
const theirs17 = (): string => join(peerBin("1.7"), SHIM);
const PAIRS: readonly Pair[] = [
  { name: "our daemon, our shim", engine: "ours", shim: () => undefined },
  { name: "our daemon, Debian's shim", engine: "ours", shim: theirs },
  { name: "our daemon, Debian's 1.7 shim", engine: "ours", shim: theirs17 },
  { name: "containerd 1.6, our shim", engine: "1.6", shim: ours },
  { name: "containerd 1.7, our shim", engine: "1.7", shim: ours },
];
/** Enough to see that a combination works at all. */
const SHORT = /exact exit code|exec, ps|terminal's size/;
const everything = process.env["GANTRY_MATRIX"] === "all";

/** A client that runs every container with a shim and an OCI runtime. */
class WithRuntime extends Client {
  readonly #flags: readonly string[];

  constructor(client: Client, flags: readonly string[]) {
    super(client.program, client.address, client.namespace);
    this.#flags = flags;
  }

  override start(args: readonly string[], options?: RunOptions): Running {
    return super.start(this.#with(args), options);
  }

  override line(...args: readonly string[]): string {
    return super.line(...this.#with(args));
  }

  #with(args: readonly string[]): string[] {
    const at = args[0] === "run" ? 1 : args[0] === "containers" && args[1] === "create" ? 2 : 0;
    return at === 0 ? [...args] : [...args.slice(0, at), ...this.#flags, ...args.slice(at)];
  }
}

for (const pair of PAIRS) {
  describe(pair.name, () => {
    let bed: Bed | undefined;
    before(async () => {
      bed = await makeBed(pair.engine, "ours");
    });
    after(async () => {
      if (bed !== undefined) await giveBack(bed);
    });
    const flags = (): string[] => {
      const shim = pair.shim();
      return shim === undefined ? [] : ["--runtime", shim];
    };
    const use = async (more: readonly string[], run: (bed: Bed) => Promise<void>): Promise<void> => {
      assert.ok(bed !== undefined, "the bed was not made");
      const counted = await steadyCensus(bed.engine);
      await run({ ...bed, ctr: new WithRuntime(bed.ctr, [...flags(), ...more]) });
      await leftNothing(bed.engine, counted);
    };

    test("the shim is the one that was asked for", () =>
      use([], async ({ ctr, engine, image }) => {
        const id = engine.id("which");
        await ctr.ok("run", "-d", image, id, "sleep", "1000");
        const info = JSON.parse(await ctr.ok("containers", "info", id)) as { Runtime: { Name: string } };
        assert.equal(info.Runtime.Name, pair.shim() ?? "io.containerd.runc.v2");
        const pid = Number(/\s(\d+)\s+RUNNING/.exec(await ctr.ok("tasks", "ls"))?.[1]);
        assert.equal(parentProgram(pid), realpathSync(pair.shim() ?? ours()));
        await ctr.ok("tasks", "rm", "-f", id);
        await ctr.ok("containers", "rm", id);
      }));

    for (const scenario of containerScenarios) {
      if (scenario.skip?.("ours", pair.engine) !== undefined) continue;
      if (!everything && /1\.7/.test(pair.name) && !SHORT.test(scenario.name)) continue;
      test(`runc: ${scenario.name}`, () => use([], scenario.run));
    }

    describe("crun", () => {
      let program = CRUN;
      let broken: string | undefined;
      before(async () => {
        if (bed === undefined || !existsSync(CRUN)) {
          broken = `${CRUN} is not installed`;
          return;
        }
        broken = await failure(bed, program);
        if (broken === undefined) return;
        program = withoutHybrid(bed.dir);
        broken = await failure(bed, program);
      });
      for (const scenario of containerScenarios) {
        if (scenario.skip?.("ours", pair.engine) !== undefined) continue;
        if (!everything && !SHORT.test(scenario.name)) continue;
        test(scenario.name, async (t) => {
          if (broken === undefined) await use(["--runc-binary", program], scenario.run);
          else t.skip(`crun does not work here: ${broken}`);
        });
      }
    });

    /** What is said when a program cannot run a container here; undefined when it can. */
    async function failure({ ctr, engine, image }: Bed, program: string): Promise<string | undefined> {
      const client = new WithRuntime(ctr, [...flags(), "--runc-binary", program]);
      const said = await client.run("run", "--rm", image, engine.id("crun"), "true");
      return said.code === 0 ? undefined : said.err.trim().split("\n")[0];
    }
  });
}

/**
 * crun refuses a machine that has both cgroup versions mounted with controllers. In a mount namespace without the second one it
 * sees the first only.
 */
function withoutHybrid(dir: string): string {
  const path = join(dir, "crun");
  const inside = `umount /sys/fs/cgroup/unified; exec ${CRUN} "$@"`;
  writeFileSync(path, `#!/bin/sh\nexec unshare -m sh -c '${inside}' crun "$@"\n`, { mode: 0o755 });
  return path;
}

/** Executable of the parent of a process. */
function parentProgram(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const parent = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] ?? "";
  return readlinkSync(`/proc/${parent}/exe`);
}
