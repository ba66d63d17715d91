/**
 * Containers that share a shim: by annotation (as CRI and containerd's own runtime option do) and by the sandbox of the record;
 * with our shim and with Debian's. Our daemon and our `ctr`; needs root and runc.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { peerBin } from "../peers/peer.ts";
import type { Client } from "./client.ts";
import { until } from "./client.ts";
import { type Bed, useBed } from "./suite.ts";
import { alive, parentOf, taskRow, taskRows } from "./tasks.ts";
import { watchEvents } from "./watch.ts";

const holder = useBed("ours", "ours");
const SHIMS = [
  { name: "our shim", runtime: () => "io.containerd.runc.v2" },
  { name: "Debian's 1.6 shim", runtime: () => join(peerBin("1.6"), "containerd-shim-runc-v2") },
  { name: "Debian's 1.7 shim", runtime: () => join(peerBin("1.7"), "containerd-shim-runc-v2") },
];
/** How the second and third container come to the first one's shim. */
const WAYS: Readonly<Record<string, (group: string, first: boolean) => string[]>> = {
  "io.kubernetes.cri.sandbox-id": (group) => ["--annotation", `io.kubernetes.cri.sandbox-id=${group}`],
  "io.containerd.runc.v2.group": (group) => ["--annotation", `io.containerd.runc.v2.group=${group}`],
  "the record's sandbox": (group, first) => (first ? [] : ["--sandbox", group]),
};

for (const shim of SHIMS) {
  for (const [way, flags] of Object.entries(WAYS)) {
    test(`${shim.name}, ${way}: one shim, one exit event each when it is killed`, () =>
      holder.check(async (bed) => {
        const { ctr, engine } = bed;
        const ids = await startGroup(bed, shim.runtime(), flags);
        const shimPid = await oneShim(ctr, ids);
        // one leaves, the others stay: also when it was the first
        const [first = "", second = "", third = ""] = ids;
        const goes = way === "the record's sandbox" ? second : first;
        await ctr.ok("tasks", "rm", "-f", goes);
        await ctr.ok("containers", "rm", goes);
        const rest = ids.filter((id) => id !== goes);
        assert.equal(await oneShim(ctr, rest), shimPid);
        const pids = await Promise.all(rest.map(async (id) => (await taskRow(ctr, id)).pid));
        const events = await watchEvents(engine);
        process.kill(shimPid, "SIGKILL");
        const began = performance.now();
        await until("the end of every task", async () => (await taskRows(ctr)).length === 0);
        for (const id of rest)
          await until(`the exit of ${id}`, () => events.of(id).some((e) => e.topic === "/tasks/delete"));
        assert.ok(performance.now() - began < 5_000);
        for (const id of rest) {
          const exits = events.of(id).filter((e) => e.topic === "/tasks/exit");
          assert.deepEqual(
            exits.map((e) => e.body["exit_status"]),
            [137],
          );
        }
        await events.stop();
        assert.deepEqual(
          pids.map((pid) => alive(pid)),
          pids.map(() => false),
        );
        for (const id of rest) await ctr.ok("containers", "rm", id);
        assert.ok(third !== "");
      }));
  }
}

test("a group's shim lives through a restart of the daemon, with what happened meanwhile told once", () =>
  holder.check(
    async (bed) => {
      const { ctr, engine } = bed;
      const flags = WAYS["io.kubernetes.cri.sandbox-id"] ?? (() => []);
      const ids = await startGroup(bed, "io.containerd.runc.v2", flags);
      const shimPid = await oneShim(ctr, ids);
      const [first = "", second = "", third = ""] = ids;
      const { pid } = await taskRow(ctr, second);
      await engine.end("SIGKILL");
      process.kill(pid, "SIGKILL");
      await until("the end", () => !alive(pid));
      await engine.start();
      assert.equal((await taskRow(ctr, second)).status, "STOPPED");
      assert.equal(await oneShim(ctr, [first, third]), shimPid);
      for (const id of ids) {
        await ctr.ok("tasks", "rm", "-f", id);
        await ctr.ok("containers", "rm", id);
      }
      await until("the end of the shim", () => !alive(shimPid));
    },
    ["open files of the daemon"],
  ));

async function startGroup(
  { ctr, engine, image }: Bed,
  runtime: string,
  flags: (group: string, first: boolean) => string[],
): Promise<string[]> {
  const ids = ["one", "two", "three"].map((name) => engine.id(name));
  const [first = ""] = ids;
  for (const id of ids)
    await ctr.ok(
      "run",
      "-d",
      "--runtime",
      runtime,
      ...flags(first, id === first),
      image,
      id,
      "sleep",
      "1000",
    );
  return ids;
}

/** Pid of the shim that all of them have. */
async function oneShim(ctr: Client, ids: readonly string[]): Promise<number> {
  const parents = new Set<number>();
  for (const id of ids) parents.add(parentOf((await taskRow(ctr, id)).pid));
  assert.equal(parents.size, 1, `shims: ${[...parents].join(" ")}`);
  return [...parents][0] ?? 0;
}
