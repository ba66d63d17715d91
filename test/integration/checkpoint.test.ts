/**
 * Checkpoints of containers and tasks. CRIU itself is played by a wrapper around runc, for it does not start on every kernel;
 * spec, image and written files are real. Our daemon and our `ctr`; needs root and runc.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "./client.ts";
import { remove, status } from "./scenarios/containers.ts";
import { type Bed, useBed } from "./suite.ts";

const holder = useBed("ours", "ours");

/** A runc whose checkpoint writes two files and ends the container when asked, and whose restore wants to see them. */
function fakeCriu(dir: string): string {
  const path = join(dir, "runc-with-criu");
  const script = `#!/bin/sh
images=""; previous=""; mode=""; exit=1
for word in "$@"; do
  [ "$previous" = --image-path ] && images="$word"
  case "$word" in checkpoint|restore) mode="$word";; --leave-running) exit=0;; esac
  previous="$word"; last="$word"
done
root=""; [ "$1" = --root ] && root="--root $2"
case "$mode" in
checkpoint)
  echo memory > "$images/pages-1.img"; echo list > "$images/inventory.img"
  [ $exit = 1 ] && runc $root kill "$last" KILL
  exit 0;;
restore)
  [ "$(cat "$images/pages-1.img")" = memory ] || { echo "no pages in $images" >&2; exit 1; }
  touch "${dir}/restored"
  out=""
  set -- "$@" end
  while [ "$1" != end ] || [ $# -gt 1 ]; do
    case "$1" in
    restore) out="$out run";;
    --image-path|--work-path) shift;;
    --tcp-established|--ext-unix-sk|--shell-job|--file-locks|--no-subreaper) ;;
    *) out="$out $1";;
    esac
    shift
  done
  exec runc $out;;
esac
exec runc "$@"
`;
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}

async function started({ ctr, engine, image, dir }: Bed, more: readonly string[] = []): Promise<string> {
  const id = engine.id("source");
  const script = "echo kept > /written; rm /etc/hostname; exec sleep 1000";
  await ctr.ok(
    "run",
    "-d",
    "--runc-binary",
    fakeCriu(dir),
    "--env",
    "A=b",
    ...more,
    image,
    id,
    "sh",
    "-c",
    script,
  );
  await until("the file", async () => (await said({ ctr }, id, "cat", "/written")) === "kept\n");
  return id;
}

const said = async ({ ctr }: Pick<Bed, "ctr">, id: string, ...command: string[]): Promise<string> =>
  (await ctr.run("tasks", "exec", "--exec-id", "look", id, ...command)).out;

test("rw layer, image and spec: the container is there again, also where its image was removed; nothing is collected", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image } = bed;
    const id = await started(bed);
    await ctr.ok("containers", "checkpoint", "--rw", "--image", id, "point:1");
    assert.equal(await status(ctr, id), "RUNNING", "it goes on");
    const again = await ctr.run("containers", "checkpoint", id, "point:1");
    assert.match(again.err, /already exists/);
    await remove(ctr, id);
    await ctr.ok("images", "rm", "--sync", image);
    const copy = engine.id("copy");
    const running = ctr.start(["containers", "restore", "--rw", copy, "point:1"]);
    await until("the copy", async () => (await status(ctr, copy)) === "RUNNING");
    assert.equal(await said(bed, copy, "cat", "/written"), "kept\n");
    assert.equal(await said(bed, copy, "sh", "-c", "ls /etc/hostname 2>/dev/null; echo $A"), "b\n");
    const info = JSON.parse(await ctr.ok("containers", "info", copy)) as {
      Image: string;
      Spec: { linux: { cgroupsPath: string } };
    };
    assert.equal(info.Image, image);
    assert.equal(info.Spec.linux.cgroupsPath, `/${engine.namespace}/${copy}`);
    await ctr.ok("tasks", "kill", "-s", "KILL", copy);
    assert.equal((await running.done).code, 137);
    await ctr.ok("containers", "rm", copy);
    await ctr.ok("images", "rm", "--sync", "point:1");
    assert.match(await ctr.ok("images", "ls", "-q"), new RegExp(image.replaceAll(".", "\\.")));
  }));

test("task: CRIU's images go into the content store and come back; exit ends the source", () =>
  holder.check(async (bed) => {
    const { ctr, engine, dir } = bed;
    const id = await started(bed);
    await ctr.ok("containers", "checkpoint", "--rw", "--image", "--task", id, "point:2");
    const made = (await ctr.ok("tasks", "checkpoint", "--exit", id)).trim().split("\n");
    assert.equal(made.length, 2);
    assert.match(made[0] ?? "", /^sha256:/);
    await until("the end of the source", async () => (await status(ctr, id)) === "STOPPED");
    await remove(ctr, id);
    const copy = engine.id("copy");
    const running = ctr.start(["containers", "restore", "--rw", "--live", copy, "point:2"]);
    await until("the copy", async () => (await status(ctr, copy)) === "RUNNING");
    assert.ok(existsSync(join(dir, "restored")), "runc restore was not called");
    assert.equal(await said(bed, copy, "cat", "/written"), "kept\n");
    await ctr.ok("tasks", "kill", "-s", "KILL", copy);
    await running.done;
    await ctr.ok("containers", "rm", copy);
    await ctr.ok("images", "rm", "--sync", "point:2");
  }));

test("into a folder; what cannot be is said: no rw part, no memory, no such checkpoint, not a checkpoint", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image, dir } = bed;
    const id = await started(bed);
    const folder = join(dir, "images");
    mkdirSync(folder);
    assert.equal(await ctr.ok("tasks", "checkpoint", "--image-path", folder, id), "");
    assert.deepEqual(readdirSync(folder).sort(), ["inventory.img", "pages-1.img"]);
    assert.equal(readFileSync(join(folder, "pages-1.img"), "utf8"), "memory\n");
    await ctr.ok("containers", "checkpoint", id, "point:3");
    for (const [args, why] of [
      [["--rw", engine.id("x"), "point:3"], /files in the checkpoint.*--rw/s],
      [["--live", engine.id("x"), "point:3"], /memory of the container.*--task/s],
      [[engine.id("x"), "nothing:1"], /checkpoint "nothing:1".*not found/s],
      [[engine.id("x"), image], /not a checkpoint/],
    ] as const) {
      const answer = await ctr.run("containers", "restore", ...args);
      assert.equal(answer.code, 1);
      assert.match(answer.err, why);
    }
    await remove(ctr, id);
    await ctr.ok("images", "rm", "--sync", "point:3");
  }));

test("a runc that cannot checkpoint: its reason is told, the container runs on", () =>
  holder.check(async ({ ctr, engine, image, dir }) => {
    const id = engine.id("plain");
    const path = join(dir, "runc-without-criu");
    const refuse = `*" checkpoint "*) echo '{"level":"error","msg":"criu failed: cannot find the binary"}' >> "$log"; exit 1;;`;
    const find = 'previous=""; for w in "$@"; do [ "$previous" = --log ] && log="$w"; previous="$w"; done';
    writeFileSync(path, `#!/bin/sh\n${find}\ncase " $* " in ${refuse} esac\nexec runc "$@"\n`, {
      mode: 0o755,
    });
    await ctr.ok("run", "-d", "--runc-binary", path, image, id, "sleep", "1000");
    const answer = await ctr.run("tasks", "checkpoint", id);
    assert.equal(answer.code, 1);
    assert.match(answer.err, /criu failed: cannot find the binary/);
    assert.equal(await status(ctr, id), "RUNNING");
    await remove(ctr, id);
  }));
