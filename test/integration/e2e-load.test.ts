/**
 * Many at once: 100 short containers with exact exits and events (reliability R14, T7, F10), pulls that overlap, and what garbage
 * collection frees (features 002-6). Needs root, runc, docker-registry, skopeo.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { until } from "./client.ts";
import { type Bed, useBed } from "./suite.ts";
import { watchEvents } from "./watch.ts";

const SHORT = 100;
const AT_ONCE = 6;
const LIFE = [
  "/containers/create",
  "/tasks/create",
  "/tasks/start",
  "/tasks/exit",
  "/tasks/delete",
  "/containers/delete",
];

/** Runs jobs, some at a time. */
async function pool(jobs: readonly (() => Promise<void>)[]): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let job = jobs[next++]; job !== undefined; job = jobs[next++]) await job();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

const rows = async (ctr: Bed["ctr"], ...args: string[]): Promise<string[]> =>
  (await ctr.ok(...args)).split("\n").filter(Boolean);

describe("many at once", () => {
  const bed = useBed("ours", "1.6");

  test(
    `${SHORT} short containers: each its own exit code, every event once and in order`,
    { timeout: 170_000 },
    () =>
      bed.check(async ({ ctr, engine, image }) => {
        const watch = await watchEvents(engine);
        const wrong: string[] = [];
        const ids: string[] = [];
        const jobs = Array.from({ length: SHORT }, (_, i) => async (): Promise<void> => {
          const id = engine.id("short");
          ids.push(id);
          const code = (i * 7) % 256;
          const said = await ctr.run("run", "--rm", image, id, "sh", "-c", `echo ${i}; exit ${code}`);
          if (said.code !== code || said.out !== `${i}\n`)
            wrong.push(`${id}: ${said.code}, not ${code}: ${said.err}`);
        });
        await pool(jobs);
        assert.equal(wrong.join("\n"), "");
        const last = (id: string): boolean => watch.of(id).some((e) => e.topic === "/containers/delete");
        await until("the last events", () => ids.every(last));
        for (const id of ids) {
          const topics = watch.of(id).map((e) => e.topic);
          assert.deepEqual(
            topics.filter((topic) => LIFE.includes(topic)),
            LIFE,
            id,
          );
        }
        await watch.stop();
      }),
  );

  test("pulls at once of one and of many images: all succeed, every blob is right", () =>
    bed.check(async ({ ctr, engine, registry }) => {
      const names = [
        "multi",
        "nonroot",
        "layers10",
        "busybox-zstd",
        "layers100",
        "layers10",
        "multi",
        "layers10",
      ];
      const said = await Promise.all(
        names.map((name) => ctr.run("images", "pull", "--plain-http", registry.ref(name))),
      );
      for (const [i, { code, err }] of said.entries()) assert.equal(code, 0, `${names[i]}: ${err}`);
      const dir = join(engine.root, "io.containerd.content.v1.content/blobs/sha256");
      for (const hex of readdirSync(dir))
        assert.equal(
          createHash("sha256")
            .update(readFileSync(join(dir, hex)))
            .digest("hex"),
          hex,
        );
      const check = await ctr.run("run", "--rm", registry.ref("layers10"), engine.id("verify"), "/verify.sh");
      assert.match(check.out, /^\d\d checks, 0 bad\n$/, check.err);
      const refs = [...new Set(names)].map((name) => registry.ref(name));
      await ctr.ok("images", "rm", "--sync", ...refs);
    }));

  test("collection frees what nobody holds, and nothing else", () =>
    bed.check(async ({ ctr, engine, registry }) => {
      const [two, other] = [registry.ref("layers10"), registry.ref("nonroot")];
      await ctr.ok("images", "pull", "--plain-http", other);
      const [blobs0, snapshots0] = [
        await rows(ctr, "content", "ls", "-q"),
        await rows(ctr, "snapshots", "ls"),
      ];
      await ctr.ok("images", "pull", "--plain-http", two);
      const id = engine.id("holds");
      await ctr.ok("containers", "create", two, id, "sleep", "1000");
      const held = (await rows(ctr, "snapshots", "ls")).length;
      // the image goes: manifest, config and layers only it used are freed, the snapshots of the container stay
      await ctr.ok("images", "rm", "--sync", two);
      assert.deepEqual(await rows(ctr, "content", "ls", "-q"), blobs0);
      assert.equal((await rows(ctr, "snapshots", "ls")).length, held);
      // the container goes: its chain too, at the next collection
      await ctr.ok("containers", "rm", id);
      await until("the snapshots to go", async () => {
        const lease = (await ctr.ok("leases", "create")).trim();
        await ctr.ok("leases", "rm", "--sync", lease);
        return (await rows(ctr, "snapshots", "ls")).length === snapshots0.length;
      });
      assert.deepEqual(await rows(ctr, "snapshots", "ls"), snapshots0);
      assert.deepEqual(await rows(ctr, "content", "ls", "-q"), blobs0);
      await ctr.ok("images", "rm", "--sync", other);
    }));
});
