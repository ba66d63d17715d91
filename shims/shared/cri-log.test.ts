/** Kubernetes logs: lines, rotation, a full disk, attached clients. The full disk needs root (a small tmpfs). */
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import { copyFd, createFifo, openFifoReader } from "../../src/platform/fs/fifo.ts";
import { mountAll, unmountTree } from "../../src/platform/mounts/mounts.ts";
import { spawnProcess } from "../../src/platform/process/spawn.ts";
import { close, pipe2 } from "../../src/platform/syscalls/files.ts";
import { CriLog } from "./cri-log.ts";
import { loggerTo } from "./log.ts";
import { parseLogAddress } from "./log-address.ts";
import { LogLines } from "./log-lines.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-log-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const quiet = loggerTo(() => {}, true, {});
const bytes = (text: string) => new TextEncoder().encode(text);
const LINE = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) (.*)$/s;

/** Parts of a stream in a log file, joined again. */
function joined(log: Uint8Array, stream: string): Buffer {
  const out: Buffer[] = [];
  const all = Buffer.from(log);
  for (let at = 0; at < all.length; ) {
    const end = all.indexOf(10, at);
    assert.ok(end >= 0, "the file ends with a newline");
    const line = all.subarray(at, end);
    const match = LINE.exec(line.toString("latin1"));
    assert.ok(match, `line "${line.toString("latin1", 0, 80)}"`);
    if (match[2] === stream) {
      out.push(line.subarray(line.length - (match[4] ?? "").length));
      if (match[3] === "F") out.push(Buffer.from("\n"));
    }
    at = end + 1;
  }
  return Buffer.concat(out);
}

/** Files of a rotated log, oldest first. */
function all(folder: string): Buffer {
  const names = readdirSync(folder).sort((a, b) => (a === "0.log" ? 1 : b === "0.log" ? -1 : a < b ? -1 : 1));
  return Buffer.concat(names.map((name) => readFileSync(join(folder, name))));
}

test("lines and parts", () => {
  const cut = (max: number, ...chunks: string[]): string[] => {
    const lines = new LogLines("stdout", max);
    let out = "";
    const write = (b: Uint8Array): void => {
      out += new TextDecoder().decode(b);
    };
    for (const chunk of chunks) lines.push(bytes(chunk), write);
    lines.end(write);
    return out
      .split("\n")
      .slice(0, -1)
      .map((l) => l.split(" ").slice(2).join(" "));
  };
  assert.deepEqual(cut(8, "a\n\nb\n"), ["F a", "F ", "F b"]);
  assert.deepEqual(cut(8, "12345678\n"), ["F 12345678"]);
  assert.deepEqual(cut(8, "1234", "5678", "\n"), ["F 12345678"]);
  assert.deepEqual(cut(8, "123456789\n"), ["P 12345678", "F 9"]);
  assert.deepEqual(cut(8, "12345678", "9abcdefgh", "\nx"), ["P 12345678", "P 9abcdefg", "F h", "P x"]);
  assert.deepEqual(cut(8), []);
  assert.deepEqual(cut(8, "no end"), ["P no end"]);
  assert.deepEqual(
    cut(0, "x".repeat(100_000), "\n").map((l) => l.length),
    [100_002],
  );
  assert.deepEqual(cut(8, "\r\n\x00\n"), ["F \r", "F \x00"]);
});

test("any cut into chunks gives the same bytes back", async () => {
  let seed = 7;
  const next = (n: number): number => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % n;
  };
  const text = Buffer.from(Array.from({ length: 300_000 }, () => (next(90) === 0 ? 10 : 32 + next(90))));
  for (const max of [1, 7, 64, 16_384]) {
    const folder = join(dir, `cut-${max}`);
    const log = new CriLog(join(folder, "0.log"), max, quiet);
    const sink = log.stream("stdout");
    for (let at = 0; at < text.length; ) {
      const end = at + next(9000);
      await sink.write(text.subarray(at, end));
      at = end;
    }
    await sink.close();
    assert.ok(joined(all(folder), "stdout").equals(text), `max ${max}`);
  }
});

test("many lines of 1 B to 64 KiB on two streams, the file moved away every 50 ms (LOG_LINES)", {
  timeout: 300_000,
}, async () => {
  const count = Number(process.env["LOG_LINES"] ?? 20_000);
  const folder = join(dir, "rotate");
  const path = join(folder, "0.log");
  const log = new CriLog(path, 16_384, quiet);
  let turn = 0;
  const timer = setInterval(() => {
    // it comes anew with the next line, which may be late on a busy machine
    if (!existsSync(path)) return;
    renameSync(path, `${path}.${String(++turn).padStart(6, "0")}`);
    if (turn % 3 === 0) log.reopen();
  }, 50);
  // Mostly short lines, some of 64 KiB; the last has no newline.
  const script = `BEGIN { srand(N); big = "x"; while (length(big) < 65536) big = big big;
    for (i = 1; i <= N; i++) { r = rand(); n = r < 0.9 ? 1 + int(r * 200) : r < 0.99 ? int(r * 4000) : 65536;
      line = i ":" substr(big, 1, n); if (i == N) printf "%s", line; else print line } }`;
  const streams = (["stdout", "stderr"] as const).map(async (name, i) => {
    const want = join(dir, `want-${name}`);
    const ends = pipe2();
    const child = spawnProcess("sh", ["-c", `awk -v N=${count / 2 + i} '${script}' | tee ${want}`], {
      stdio: ["ignore", ends.write, "ignore"],
    });
    close(ends.write);
    const sink = log.stream(name);
    await copyFd(ends.read, [sink]);
    await child.exited;
    close(ends.read);
    await sink.close();
    return { name, want };
  });
  const done = await Promise.all(streams);
  clearInterval(timer);
  const content = all(folder);
  for (const { name, want } of done)
    assert.ok(joined(content, name).equals(readFileSync(want)), `${name} is byte-exact`);
  assert.ok(turn > 0, "rotated at least once");
});

test("the writer rotates by itself: whole lines, so many files, nothing lost before the oldest goes", async () => {
  const folder = join(dir, "own-rotation");
  const path = join(folder, "0.log");
  const rotate = parseLogAddress(`cri-log://${path}?size=4096&files=3`).rotate;
  assert.deepEqual(rotate, { size: 4096, files: 3 });
  const log = new CriLog(path, 16_384, quiet, rotate);
  const sink = log.stream("stdout");
  for (let i = 0; i < 400; i++) await sink.write(bytes(`line ${i}\n`));
  await sink.close();
  assert.deepEqual(readdirSync(folder).sort(), ["0.log", "0.log.1", "0.log.2"]);
  const numbers = ["0.log.2", "0.log.1", "0.log"].flatMap((name) => {
    const text = readFileSync(join(folder, name), "utf8");
    assert.ok(text.length <= 4096 && text.endsWith("\n"), name);
    return [...text.matchAll(/ F line (\d+)$/gm)].map((m) => Number(m[1]));
  });
  assert.equal(numbers.at(-1), 399);
  assert.deepEqual(
    numbers,
    numbers.map((_, i) => 400 - numbers.length + i),
  );
  for (const bad of ["size=1", "size=x", "size=8192&files=0", "size=8192&files=1000"])
    assert.throws(() => parseLogAddress(`cri-log:///x?${bad}`), /want size of at least/);
});

test("a file that vanished is made anew, one that was truncated goes on", async () => {
  const path = join(dir, "gone", "0.log");
  const log = new CriLog(path, 100, quiet);
  const sink = log.stream("stdout");
  await sink.write(bytes("one\n"));
  rmSync(path);
  await sink.write(bytes("two\n"));
  assert.match(readFileSync(path, "utf8"), / F two\n$/);
  writeFileSync(path, "");
  await sink.write(bytes("three\n"));
  assert.match(readFileSync(path, "utf8"), /^\S+ stdout F three\n$/);
  rmSync(join(dir, "gone"), { recursive: true });
  await sink.write(bytes("nowhere to go\n"));
  mkdirSync(join(dir, "gone"));
  await sink.write(bytes("four\n"));
  assert.match(readFileSync(path, "utf8"), /^\S+ stdout F four\n$/);
  await sink.close();
});

test("a full disk: no torn line, writers held up for less than a second, all there when it has room in time", {
  skip: process.getuid?.() === 0 ? false : "needs root",
}, async () => {
  const folder = join(dir, "full");
  mkdirSync(folder);
  mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: ["size=512k"] }], folder);
  try {
    const path = join(folder, "0.log");
    const log = new CriLog(path, 16_384, quiet);
    const sink = log.stream("stdout");
    const sent: Buffer[] = [];
    const send = async (): Promise<number> => {
      const chunk = Buffer.from(`${`line ${sent.length} `.repeat(700)}\n`.repeat(8));
      sent.push(chunk);
      const from = performance.now();
      await sink.write(chunk);
      return performance.now() - from;
    };
    const ballast = join(folder, "ballast");
    writeFileSync(ballast, Buffer.alloc(400 << 10));
    let held = 0;
    for (let i = 0; i < 6; i++) held += await send();
    assert.ok(held < 1000, `writers were held up ${held} ms`);
    assert.ok(readFileSync(path).length < 150 << 10);
    joined(readFileSync(path), "stdout");
    rmSync(ballast);
    await send();
    await sink.close();
    assert.ok(joined(readFileSync(path), "stdout").equals(Buffer.concat(sent)), "everything is there");
  } finally {
    await unmountTree(folder);
  }
});

test("attached clients see what comes from then on, to its end; one that reads nothing is cut off", async () => {
  const log = new CriLog(join(dir, "attach", "0.log"), 16_384, quiet);
  const sink = log.stream("stdout");
  await sink.write(bytes("before\n"));
  const [path, slow] = [join(dir, "attach", "a"), join(dir, "attach", "b")];
  createFifo(path);
  createFifo(slow);
  assert.throws(() => log.attach("stdout", path), /nobody reads/);
  assert.throws(() => log.attach("stderr", path), /not open/);
  const [reader, stuck] = [openFifoReader(path), openFifoReader(slow)];
  log.attach("stdout", path);
  log.attach("stdout", slow);
  reader.release();
  const got = (async () => {
    let text = "";
    for await (const chunk of readFd(reader.fd)) text += new TextDecoder().decode(chunk);
    return text;
  })();
  const block = bytes(`${"y".repeat(65_535)}\n`);
  for (let i = 0; i < 40; i++) await sink.write(block);
  await sink.close();
  assert.equal((await got).length, 40 * 65_536);
  close(reader.fd);
  stuck.release();
  close(stuck.fd);
});
