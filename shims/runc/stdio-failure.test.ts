/** Streams that cannot be opened: nothing of what was opened before stays open. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { noLog } from "../../src/core/log.ts";
import type { Stdio } from "../../src/core/tasks/tasks.ts";
import { createFifo, openFifoReader } from "../../src/platform/fs/fifo.ts";
import { close } from "../../src/platform/syscalls/files.ts";
import { EarlyFifos, earlyTargets } from "./early-fifos.ts";
import { openStdio } from "./stdio.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-stdio-"));
after(() => rmSync(dir, { recursive: true }));
const path = (name: string): string => join(dir, name);
const fifo = (name: string): string => {
  createFifo(path(name));
  return path(name);
};
const owner = { id: "c", namespace: "test", uid: 0, gid: 0, pipes: false };
const none = { stdin: "", stdout: "", stderr: "", terminal: false };

/** Our open files below the folder. */
function opened(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const file = readlinkSync(`/proc/self/fd/${fd}`);
      return file.startsWith(dir) ? [file] : [];
    } catch {
      return []; // that of the folder itself
    }
  });
}

test("a terminal whose output cannot be opened", async () => {
  mkdirSync(path("folder"));
  const streams = { ...none, stdin: fifo("tty-in"), stdout: `file://${path("folder")}`, terminal: true };
  await assert.rejects(openStdio(streams, owner, noLog), /EISDIR|is a directory/i);
  assert.deepEqual(opened(), []);
});

test("a log beside an input that is not there", async () => {
  const streams = { ...none, stdin: path("none"), stdout: `cri-log://${path("0.log")}` };
  await assert.rejects(openStdio(streams, owner, noLog), /ENOENT|no such file/i);
  assert.deepEqual(opened(), []);
});

function early(streams: Stdio): EarlyFifos {
  const targets = earlyTargets(streams);
  assert(targets !== undefined);
  return new EarlyFifos(targets, noLog);
}

test("a terminal, a file and a program are nothing for early", () => {
  assert.equal(earlyTargets({ ...none, terminal: true }), undefined);
  for (const stdout of [`file://${path("file")}`, "binary:///bin/true"])
    assert.equal(earlyTargets({ ...none, stdout }), undefined);
});

test("an error stream that is not there, early", async () => {
  const streams = { ...none, stdin: fifo("in"), stdout: fifo("out"), stderr: path("none") };
  assert.throws(() => early(streams), /ENOENT|no such file/i);
  assert.deepEqual(opened(), []);
});

test("an input that is not there at the start of what was begun early", async () => {
  const reader = openFifoReader(fifo("read"));
  const begun = early({ ...none, stdin: path("none"), stdout: path("read") });
  await assert.rejects(begun.ready(), /ENOENT|no such file/i);
  await begun.close();
  reader.release();
  assert.deepEqual(opened(), [path("read")]);
  close(reader.fd);
});
