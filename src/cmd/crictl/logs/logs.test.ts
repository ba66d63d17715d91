import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { parseLine } from "./line.ts";
import { type ReadOptions, readLog, tailStart } from "./read.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-logs-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const TIME = "2026-01-02T03:04:05.000000006Z";
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | undefined): string => new TextDecoder().decode(data);

test("lines of both formats", () => {
  const full = parseLine(bytes(`${TIME} stdout F hello  world\n`));
  assert.deepEqual(
    [full?.time, full?.stream, full?.full, text(full?.content)],
    [TIME, "stdout", true, "hello  world\n"],
  );
  const partial = parseLine(bytes(`${TIME} stderr P part\n`));
  assert.deepEqual([partial?.stream, partial?.full, text(partial?.content)], ["stderr", false, "part"]);
  assert.equal(text(parseLine(bytes(`${TIME} stdout F \n`))?.content), "\n");
  assert.equal(text(parseLine(bytes(`${TIME} stdout F\n`))?.content), "\n");
  const docker = parseLine(bytes(`{"log":"x\\n","stream":"stderr","time":"${TIME}"}\n`));
  assert.deepEqual([docker?.stream, docker?.full, text(docker?.content)], ["stderr", true, "x\n"]);
  for (const wrong of [
    "",
    "\n",
    "nonsense\n",
    `${TIME} stdin F x\n`,
    `${TIME} stdout X x\n`,
    "{broken\n",
    '{"a":1}\n',
  ])
    assert.equal(parseLine(bytes(wrong)), undefined, JSON.stringify(wrong));
});

test("the start of the last lines, over block borders", async () => {
  const path = join(dir, "tail");
  const lines = Array.from({ length: 5_000 }, (_, i) => `line ${i} ${"x".repeat(i % 100)}\n`);
  writeFileSync(path, lines.join(""));
  const file = await open(path);
  const all = lines.join("");
  for (const n of [0, 1, 2, 1_000, 4_999, 5_000, 6_000]) {
    const start = await tailStart(file, n);
    assert.equal(all.slice(start), n === 0 ? "" : lines.slice(-n).join(""), `${n} lines`);
  }
  await file.close();
  writeFileSync(path, "a\nb\nno end");
  const open2 = await open(path);
  assert.equal(await tailStart(open2, 1), 4);
  assert.equal(await tailStart(open2, 2), 2);
  await open2.close();
});

function options(more: Partial<ReadOptions> = {}): ReadOptions {
  return {
    follow: false,
    tail: undefined,
    since: undefined,
    signal: new AbortController().signal,
    running: async () => false,
    ...more,
  };
}
const line = (content: string, time = TIME): string => `${time} stdout F ${content}\n`;

async function collect(path: string, more?: Partial<ReadOptions>): Promise<string> {
  let out = "";
  for await (const entry of readLog(path, options(more))) out += text(entry.content);
  return out;
}

test("all, since, tail, damaged lines, an unfinished last one", async () => {
  const path = join(dir, "plain");
  writeFileSync(
    path,
    [
      line("one", "2026-01-01T00:00:00Z"),
      line("two"),
      "garbage\n",
      line("three"),
      line("four").trimEnd(),
    ].join(""),
  );
  assert.equal(await collect(path), "one\ntwo\nthree\nfour");
  assert.equal(await collect(path, { since: 1_767_300_000_000_000_000n }), "two\nthree\nfour");
  assert.equal(await collect(path, { tail: 2 }), "three\nfour");
  await assert.rejects(collect(join(dir, "none")), /open log file .*none/);
});

test("follow goes on with the file that took the name, and ends with the container", async () => {
  const path = join(dir, "follow");
  writeFileSync(path, line("1"));
  let running = true;
  const got: string[] = [];
  for await (const entry of readLog(path, options({ follow: true, running: async () => running }))) {
    const content = text(entry.content).trim();
    got.push(content);
    if (content === "1") appendFileSync(path, line("2"));
    if (content === "2") {
      appendFileSync(path, line("3"));
      renameSync(path, `${path}.old`);
      writeFileSync(path, line("4"));
    }
    if (content === "4") {
      // emptied in place, as logrotate's copytruncate does
      writeFileSync(path, "");
      setTimeout(() => appendFileSync(path, line("5")), 50);
    }
    if (content === "5") {
      running = false;
      appendFileSync(path, line("6"));
    }
  }
  assert.deepEqual(got, ["1", "2", "3", "4", "5", "6"]);
});

test("follow: lines that come to the old file while the new one is there already, and after its first line", async () => {
  const path = join(dir, "late");
  writeFileSync(path, line("1"));
  let running = true;
  const got: string[] = [];
  for await (const entry of readLog(path, options({ follow: true, running: async () => running }))) {
    const content = text(entry.content).trim();
    got.push(content);
    if (content === "1") {
      renameSync(path, `${path}.old`);
      writeFileSync(path, "");
      setTimeout(() => appendFileSync(`${path}.old`, line("2")), 20);
    }
    if (content === "2") {
      // an empty one is rotated, too
      renameSync(path, `${path}.empty`);
      writeFileSync(path, line("4"));
      appendFileSync(`${path}.old`, line("3"));
    }
    if (content === "4") running = false;
  }
  assert.deepEqual(got, ["1", "2", "3", "4"]);
});

test("follow ends when it is interrupted", async () => {
  const path = join(dir, "interrupt");
  writeFileSync(path, line("1"));
  const stop = new AbortController();
  const got: string[] = [];
  for await (const entry of readLog(
    path,
    options({ follow: true, signal: stop.signal, running: async () => true }),
  )) {
    got.push(text(entry.content));
    setTimeout(() => stop.abort(), 20);
  }
  assert.deepEqual(got, ["1\n"]);
});
