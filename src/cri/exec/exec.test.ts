import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openFifo } from "../../platform/fs/fifo.ts";
import { close, writeAll } from "../../platform/syscalls/files.ts";
import { Capture, CaptureBudget } from "./capture.ts";
import { makeFifos } from "./fifos.ts";
import { descendants } from "./process.ts";

test("the budget: one stream may take all but the other's reserve", () => {
  const budget = new CaptureBudget(100, 10);
  assert.equal(budget.take(0, 60), 60);
  assert.equal(budget.take(0, 60), 30);
  assert.equal(budget.take(0, 1), 0);
  assert.equal(budget.take(1, 7), 7);
  assert.equal(budget.take(1, 7), 3);
  assert.equal(budget.take(1, 7), 0);
});

test("a capture keeps the beginning, drops the rest and never holds up the writer", async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-capture-"));
  const fifos = makeFifos(dir, { stdin: false, stdout: true, stderr: false, tty: false });
  const size = 4 << 20;
  const end = openFifo(fifos.stdio.stdout);
  const writer = spawn("sh", ["-c", `head -c ${size} /dev/zero | tr '\\0' x; printf end`], {
    stdio: ["ignore", end, "inherit"],
  });
  const ended = new Promise((resolve) => writer.once("close", resolve));
  const capture = new Capture();
  const limit = 3 << 20;
  const pumped = capture.pump(
    fifos.stdout ?? -1,
    new CaptureBudget(limit, 0),
    0,
    new AbortController().signal,
  );
  fifos.opened();
  close(end);
  await Promise.all([ended, pumped]);
  assert.equal(capture.length, limit);
  const parts = capture.parts();
  assert.equal(
    parts.reduce((sum, part) => sum + part.length, 0),
    limit,
  );
  assert.ok(parts.every((part) => part.every((byte) => byte === 0x78)));
  fifos.dispose();
  rmSync(dir, { recursive: true });
});

test("a capture of much output has all of it, in order", async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-capture-"));
  const fifos = makeFifos(dir, { stdin: false, stdout: true, stderr: false, tty: false });
  const end = openFifo(fifos.stdio.stdout);
  const count = 500_000;
  const writer = spawn("seq", ["1", String(count)], { stdio: ["ignore", end, "inherit"] });
  const ended = new Promise((resolve) => writer.once("close", resolve));
  const capture = new Capture();
  const budget = new CaptureBudget(16 << 20, 0);
  const pumped = capture.pump(fifos.stdout ?? -1, budget, 0, new AbortController().signal);
  fifos.opened();
  close(end);
  await Promise.all([ended, pumped]);
  const lines = Buffer.concat(capture.parts()).toString().trimEnd().split("\n");
  assert.equal(
    lines.findIndex((line, index) => line !== String(index + 1)),
    -1,
  );
  assert.equal(lines.length, count);
  fifos.dispose();
  rmSync(dir, { recursive: true });
});

test("FIFOs: what was written before the other side opened is not lost; all goes with them", async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-fifos-"));
  const fifos = makeFifos(dir, { stdin: true, stdout: true, stderr: true, tty: true });
  // a terminal has no stderr
  assert.equal(fifos.stdio.stderr, "");
  const fd = openFifo(fifos.stdio.stdout);
  writeAll(fd, new TextEncoder().encode("early"));
  fifos.opened();
  const capture = new Capture();
  const pumped = capture.pump(fifos.stdout ?? -1, new CaptureBudget(100, 0), 0, new AbortController().signal);
  close(fd);
  await pumped;
  assert.equal(new TextDecoder().decode(capture.parts()[0]), "early");
  fifos.dispose();
  fifos.dispose();
  assert.equal(existsSync(fifos.stdio.stdout), false);
  rmSync(dir, { recursive: true });
});

test("what a process started: its children and those of its session", async () => {
  const child = spawn("sh", ["-c", "sleep 100 & sh -c 'sleep 100 & sleep 100' & echo ready; wait"], {
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  const root = child.pid ?? 0;
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const { readdirSync } = await import("node:fs");
  const all = readdirSync("/proc").map(Number).filter(Number.isInteger);
  const found = descendants(root, all);
  assert.ok(found.length >= 2 && !found.includes(root) && !found.includes(process.pid));
  assert.deepEqual(descendants(root, []), []);
  process.kill(-root, "SIGKILL");
  await new Promise((resolve) => child.once("close", resolve));
});
