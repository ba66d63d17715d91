import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { alloc, text } from "../ffi/memory.ts";
import { run, spawnProcess } from "../process/spawn.ts";
import { O_RDONLY } from "../syscalls/constants.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close, open, pipe2, tryRead, writeAll } from "../syscalls/files.ts";
import { createFdSink, readFd } from "./fd-stream.ts";
import { copyFd, createFifo, isAtEnd, openFifo, openFifoReader } from "./fifo.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-fifo-"));
after(() => rmSync(dir, { recursive: true, force: true }));

test("container pipe -> FIFO -> reader: every byte, through a slow reader", async () => {
  const fifo = join(dir, "out");
  createFifo(fifo);
  createFifo(fifo);
  const pipe = pipe2();
  const fd = openFifo(fifo);
  const reading = run("sh", ["-c", `(sleep 0.2; sha256sum) < ${fifo}`]);
  const child = spawnProcess("sh", ["-c", "yes abcdefgh | head -c 20000000"], {
    stdio: ["ignore", pipe.write, "ignore"],
  });
  close(pipe.write);
  const bytes = await copyFd(pipe.read, [fd]);
  close(fd);
  close(pipe.read);
  assert.equal((await child.exited).code, 0);
  assert.equal(bytes, 20_000_000n);
  const want = createHash("sha256").update("abcdefgh\n".repeat(2_222_223).slice(0, 20_000_000)).digest("hex");
  assert.equal(text((await reading).stdout).slice(0, 64), want);
});

test("nobody reads: the copy waits, and an abort ends it", async () => {
  const fifo = join(dir, "stalled");
  createFifo(fifo);
  const pipe = pipe2();
  const fd = openFifo(fifo);
  const child = spawnProcess("sh", ["-c", "head -c 1000000 /dev/zero"], {
    stdio: ["ignore", pipe.write, "ignore"],
  });
  close(pipe.write);
  const abort = new AbortController();
  const copying = copyFd(pipe.read, [fd], {
    signal: abort.signal,
    onFirst: () => setTimeout(() => abort.abort(), 20),
  });
  assert.ok((await copying) < 1_000_000n);
  close(pipe.read);
  close(fd);
  await child.exited;
});

test("a reader that is early waits for the writer, then sees its end", async () => {
  const fifo = join(dir, "in");
  createFifo(fifo);
  const input = openFifoReader(fifo);
  const out = pipe2();
  const copying = copyFd(input.fd, [out.write], { onFirst: () => input.release() });
  await run("sh", ["-c", `sleep 0.05; echo hello > ${fifo}`]);
  assert.equal(await copying, 6n);
  close(input.fd);
  close(out.write);
  const chunks: string[] = [];
  for await (const chunk of readFd(out.read)) chunks.push(text(chunk));
  assert.equal(chunks.join(""), "hello\n");
  close(out.read);
});

test("release ends an input that nobody wrote to; abort ends a read", async () => {
  const fifo = join(dir, "never");
  createFifo(fifo);
  const input = openFifoReader(fifo);
  const copying = copyFd(input.fd, []);
  input.release();
  assert.equal(await copying, 0n);
  close(input.fd);
  const again = openFifoReader(fifo);
  const abort = new AbortController();
  const stuck = copyFd(again.fd, [], { signal: abort.signal });
  setTimeout(() => abort.abort(), 10);
  assert.equal(await stuck, 0n);
  again.release();
  close(again.fd);
});

test("a target without reader is dropped, the other goes on", async () => {
  const from = pipe2();
  const gone = pipe2();
  close(gone.read);
  writeAll(from.write, new Uint8Array(1000));
  close(from.write);
  const seen: number[] = [];
  const sink = {
    async write(chunk: Uint8Array): Promise<void> {
      seen.push(chunk.length);
    },
    async close(): Promise<void> {},
  };
  assert.equal(await copyFd(from.read, [gone.write, sink]), 1000n);
  assert.deepEqual(seen, [1000]);
  close(from.read);
  close(gone.write);
});

test("plain files and wrong types", async () => {
  writeFileSync(join(dir, "plain"), "plain");
  assert.throws(
    () => openFifo(join(dir, "plain")),
    (error: unknown) => isErrno(error, "EINVAL"),
  );
  const result = await run("sh", ["-c", "true"], { stdin: "ignored" });
  assert.equal(result.code, 0);
  const sinkPipe = pipe2();
  const sink = createFdSink(sinkPipe.write);
  await sink.write(new TextEncoder().encode("x"));
  await sink.close();
  close(sinkPipe.write);
  const got: string[] = [];
  for await (const chunk of readFd(sinkPipe.read)) got.push(text(chunk));
  assert.deepEqual(got, ["x"]);
  close(sinkPipe.read);
});

test("at its end: a pipe that was read and has no writer, /dev/null; not one that may get or has data, nor a file", () => {
  const pipe = pipe2();
  assert.equal(isAtEnd(pipe.read), false, "a writer is there");
  writeAll(pipe.write, new Uint8Array(1));
  close(pipe.write);
  assert.equal(isAtEnd(pipe.read), false, "data is there");
  tryRead(pipe.read, alloc(128));
  assert.equal(isAtEnd(pipe.read), true);
  close(pipe.read);
  const nothing = open("/dev/null", O_RDONLY);
  assert.equal(isAtEnd(nothing), true);
  close(nothing);
  const file = join(dir, "file");
  writeFileSync(file, "");
  const fd = open(file, O_RDONLY);
  assert.equal(isAtEnd(fd), false);
  close(fd);
});
