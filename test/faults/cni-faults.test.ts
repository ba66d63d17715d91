/**
 * Network plugins that fail before or after their work, die, or are cut off with the daemon, at ADD and at DEL, in every
 * combination: what the kubelet's stop and remove leave is nothing (F12). GANTRY_CNI_ROUNDS repeats the table. Needs root.
 */
import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "../integration/client.ts";
import { CNI_BIN, CriBed, cannotRun } from "../integration/cri-bed.ts";

const ROUNDS = Number(process.env["GANTRY_CNI_ROUNDS"] ?? 1);
/** Shell words of a fault; `real` runs the plugin and passes its output on. */
const FAULTS: Readonly<Record<string, string>> = {
  none: "real",
  "fail before": `echo '{"cniVersion":"1.0.0","code":100,"msg":"before"}'; exit 1`,
  "fail after": `real > /dev/null; echo '{"cniVersion":"1.0.0","code":101,"msg":"after"}'; exit 1`,
  "die before": "kill -9 $$",
  "die after": "real > /dev/null; kill -9 $$",
  nonsense: "real > /dev/null; echo not json; exit 0",
};
/** How often a fault happens to one pod before the plugin is well again: more than we try by ourselves, then the kubelet does. */
const TIMES = 4;

/** Puts the faults in front of the real plugin, each for so many calls. */
function install(bed: CriBed, add: string, del: string): void {
  const part = (command: string, fault: string): string => `
    if [ "$CNI_COMMAND" = ${command} ]; then
      n=$(cat ${bed.dir}/count-${command} 2>/dev/null || echo 0)
      if [ "$n" -lt ${command === "ADD" ? 1 : TIMES} ]; then
        echo $((n + 1)) > ${bed.dir}/count-${command}
        ${FAULTS[fault] ?? "real"}
        exit $?
      fi
    fi`;
  for (const command of ["ADD", "DEL"]) rmSync(join(bed.dir, `count-${command}`), { force: true });
  writeFileSync(
    join(bed.dir, "cni-bin/bridge"),
    `#!/bin/sh\nreal() { ${CNI_BIN}/bridge; }\n${part("ADD", add)}\n${part("DEL", del)}\nexec ${CNI_BIN}/bridge\n`,
    { mode: 0o755 },
  );
}

/** Stops and removes all pods, again and again like a kubelet. */
async function removeAll(bed: CriBed): Promise<void> {
  for (let turn = 0; ; turn++) {
    try {
      return await bed.removeAll();
    } catch (err) {
      if (turn === 10) throw err;
    }
  }
}

test("plugins that fail or die at ADD and DEL leave no address, namespace, interface or record", {
  skip: cannotRun,
}, async () => {
  await using bed = await CriBed.start();
  const empty = bed.census();
  for (let round = 0; round < ROUNDS; round++) {
    for (const add of Object.keys(FAULTS)) {
      for (const del of Object.keys(FAULTS)) {
        install(bed, add, del);
        const config = bed.pod(`f${round}`);
        const made = await bed.runtime.runPodSandbox({ config }).then(
          () => true,
          () => false,
        );
        assert.equal(made, add === "none", `${add} at ADD`);
        await removeAll(bed);
        await until("nothing is left", () => JSON.stringify(bed.census()) === JSON.stringify(empty)).catch(
          () => assert.deepEqual(bed.census(), empty, `${add} at ADD, ${del} at DEL`),
        );
      }
    }
  }
});

test("a daemon that is killed while a plugin adds or deletes leaves nothing after the restart", {
  skip: cannotRun,
}, async () => {
  await using bed = await CriBed.start();
  const empty = bed.census();
  for (const command of ["ADD", "DEL"]) {
    for (const when of ["before", "after"]) {
      const begun = join(bed.dir, "begun");
      rmSync(begun, { force: true });
      const wait = `touch ${begun}; sleep 0.3`;
      writeFileSync(
        join(bed.dir, "cni-bin/bridge"),
        `#!/bin/sh
        [ "$CNI_COMMAND" = ${command} ] && [ ! -e ${begun} ] && {
          ${when === "before" ? `${wait}; exec ${CNI_BIN}/bridge` : `${CNI_BIN}/bridge; ${wait}; exit 0`}
        }
        exec ${CNI_BIN}/bridge`,
        { mode: 0o755 },
      );
      const work = (async () => {
        const { podSandboxId } = await bed.runtime.runPodSandbox({ config: bed.pod("cut") });
        await bed.runtime.stopPodSandbox({ podSandboxId });
      })().catch(() => {});
      await until("the plugin has begun", () => existsSync(begun));
      await bed.killDaemon();
      await work;
      await bed.startDaemon();
      await removeAll(bed);
      // what the plugin does late, if it still lives
      await delay(400);
      await until("nothing is left", () => JSON.stringify(bed.census()) === JSON.stringify(empty)).catch(() =>
        assert.deepEqual(bed.census(), empty, `killed ${when} ${command}`),
      );
    }
  }
});
