/**
 * Folders that turn into links while the engine works on them (reliability S29, S50). A running container cannot be trusted with
 * the names below its root or in a volume it shares: here they are exchanged many thousand times a second. Our daemon, our
 * client, real runc. GANTRY_RACES says how often each is tried (8). Needs root.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { readMountInfo } from "../../src/platform/mounts/mountinfo.ts";
import { BUN } from "../integration/program.ts";
import { remove } from "../integration/scenarios/containers.ts";
import { useBed } from "../integration/suite.ts";
import { taskRow } from "../integration/tasks.ts";

const ROUNDS = Number(process.env["GANTRY_RACES"] ?? 8);
const SECRET = "the-secret-of-the-host";
const holder = useBed("ours", "ours");

/** Exchanges two names until it is told to stop. */
async function flip(a: string, b: string): Promise<() => Promise<number>> {
  const child = spawn(BUN, [join(import.meta.dirname, "flip.ts"), a, b], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let out = "";
  const ready = new Promise<void>((resolve) => {
    child.stdout.on("data", (chunk) => {
      out += String(chunk);
      if (out.startsWith("ready")) resolve();
    });
  });
  const done = new Promise<void>((resolve) => child.once("close", () => resolve()));
  await ready;
  return async () => {
    child.stdin.end();
    await done;
    return Number(out.split("\n")[1]);
  };
}

/** A folder of the host with a secret, and what it looks like. */
function canary(dir: string, name: string): { path: string; look: () => unknown } {
  const path = join(dir, name);
  mkdirSync(path, { mode: 0o750 });
  writeFileSync(join(path, "file"), SECRET, { mode: 0o640 });
  const look = (): unknown => {
    const facts = [path, join(path, "file")].map((p) => {
      const { mode, uid, gid, mtimeMs, size } = lstatSync(p);
      return { mode, uid, gid, mtimeMs, size };
    });
    return { facts, names: readdirSync(path), text: readFileSync(join(path, "file"), "utf8") };
  };
  return { path, look };
}

test("S29: a layer made of a running container that swaps a folder for a link holds nothing of the host", () =>
  holder.check(
    async ({ ctr, engine, image, dir }) => {
      const host = canary(dir, "s29");
      const before = host.look();
      const id = engine.id("swap");
      const names = Array.from({ length: 50 }, (_v, i) => `f${i}`).join(" ");
      await ctr.ok(
        "run",
        "-d",
        image,
        id,
        "sh",
        "-c",
        [
          "mkdir -p /data/d",
          `for f in file ${names}; do echo inside > /data/d/$f; done`,
          `ln -s ${host.path} /data/l`,
          "touch /made",
          "sleep 1000",
        ].join("; "),
      );
      const { pid } = await taskRow(ctr, id);
      await ctr.ok(
        "tasks",
        "exec",
        "--exec-id",
        "w",
        id,
        "sh",
        "-c",
        "until [ -e /made ]; do sleep 0.05; done",
      );
      const stop = await flip(`/proc/${pid}/root/data/d`, `/proc/${pid}/root/data/l`);
      let layers = 0;
      for (let i = 0; i < ROUNDS; i++) {
        const ref = join(dir, "layer");
        // a walk that meets the change may fail: it must not follow
        const said = await ctr.run("snapshots", "diff", "--keep", "--ref", ref, id);
        const digest = (await ctr.ok("content", "ls", "-q")).split("\n");
        for (const one of digest.filter((d) => d !== "")) {
          const path = join(engine.root, "io.containerd.content.v1.content/blobs", one.replace(":", "/"));
          const bytes = readFileSync(path);
          const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes;
          assert.equal(plain.includes(SECRET), false, `round ${i}: ${one} holds the host's secret`);
        }
        if (said.code === 0) layers++;
      }
      const flips = await stop();
      assert.ok(flips > 1000 && layers > 0, `${flips} exchanges, ${layers} layers`);
      assert.deepEqual(host.look(), before);
      await remove(ctr, id);
      const kept = (await ctr.ok("content", "ls")).split("\n").filter((line) => /tar\+gzip/.test(line));
      for (const line of kept) await ctr.ok("content", "rm", line.split(/\s+/)[0] ?? "");
    },
    ["content"],
  ));

test("S29: a container whose tree is swapped is removed without a look behind its links", () =>
  holder.check(async ({ ctr, engine, image, dir }) => {
    const host = canary(dir, "s29-rm");
    const before = host.look();
    for (let i = 0; i < Math.ceil(ROUNDS / 4); i++) {
      const id = engine.id("gone");
      await ctr.ok(
        "run",
        "-d",
        image,
        id,
        "sh",
        "-c",
        `mkdir -p /d/x; ln -s ${host.path} /l; touch /made; sleep 1000`,
      );
      const { pid } = await taskRow(ctr, id);
      await ctr.ok(
        "tasks",
        "exec",
        "--exec-id",
        "w",
        id,
        "sh",
        "-c",
        "until [ -e /made ]; do sleep 0.05; done",
      );
      // the upper folder itself: it stays after the container's end, until it is removed
      const upper = readMountInfo(pid)
        .find((m) => m.target === "/" && m.type === "overlay")
        ?.superOptions.find((o) => o.startsWith("upperdir="))
        ?.slice("upperdir=".length);
      assert.ok(upper !== undefined);
      const stop = await flip(join(upper, "d"), join(upper, "l"));
      await remove(ctr, id);
      assert.ok((await stop()) > 0);
      assert.deepEqual(host.look(), before);
    }
  }));

test("S50: a mount whose target is swapped for a link, in a volume that two share, lands inside or nowhere", () =>
  holder.check(async ({ ctr, engine, image, dir }) => {
    const host = canary(dir, "s50");
    const [volume, other] = [join(dir, "volume"), join(dir, "other")];
    mkdirSync(join(volume, "a/target"), { recursive: true });
    mkdirSync(other);
    writeFileSync(join(other, "mark"), "of the other");
    symlinkSync(host.path, join(volume, "b"));
    mkdirSync(join(host.path, "target"));
    const names = readdirSync(host.path);
    const start = async (): Promise<{ code: number | null; out: string }> =>
      await ctr.run(
        "run",
        "--rm",
        "--mount",
        `type=bind,src=${volume},dst=/vol,options=rbind:rw`,
        "--mount",
        `type=bind,src=${other},dst=/vol/a/target,options=rbind:rw`,
        image,
        engine.id("race"),
        "sh",
        "-c",
        `cat ${host.path}/file /vol/a/file /vol/b/file /vol/a/target/../file 2>/dev/null; true`,
      );
    // Whether a container starts while the names change is luck; that it starts when they do not is none.
    assert.equal((await start()).code, 0, "no container starts even without exchanges");
    const stop = await flip(join(volume, "a"), join(volume, "b"));
    for (let i = 0; i < ROUNDS; i++) {
      const said = await start();
      assert.equal(said.out.includes(SECRET), false, `round ${i}: the container saw the host's file`);
    }
    const flips = await stop();
    assert.ok(flips > 1000, `${flips} exchanges`);
    assert.deepEqual(readdirSync(host.path), names, "something was made on the host");
    assert.equal(readFileSync(join(host.path, "file"), "utf8"), SECRET);
    assert.equal(readMountInfo().filter((m) => m.target.startsWith(dir)).length, 0);
  }));
