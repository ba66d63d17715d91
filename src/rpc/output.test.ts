import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import type { ByteStream } from "../platform/net/byte-stream.ts";
import { Output } from "./output.ts";

function recorder(): { stream: ByteStream; next: () => Promise<string> } {
  const written: string[] = [];
  let wake = (): void => {};
  const stream = {
    on: () => {},
    write(chunk: Uint8Array) {
      written.push(Buffer.from(chunk).toString());
      wake();
      return true;
    },
    writableLength: 0,
    end: () => {},
  } as unknown as ByteStream;
  return {
    stream,
    async next() {
      while (written.length === 0)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      return written.shift() ?? "";
    },
  };
}

test("what can wait leaves with the next write, in order, and alone when there is none", async () => {
  const { stream, next } = recorder();
  const output = new Output(stream);
  output.pushLater(Buffer.from("a"));
  output.flush();
  output.push(Buffer.from("b"));
  assert.equal(await next(), "ab");
  output.pushLater(Buffer.from("c"));
  output.pushLater(Buffer.from("d"));
  assert.equal(await next(), "cd");
});

test("what waits is written before the end, and not after a stop", async () => {
  const ended = recorder();
  const first = new Output(ended.stream);
  first.pushLater(Buffer.from("a"));
  first.end();
  assert.equal(await ended.next(), "a");
  const stopped = recorder();
  const second = new Output(stopped.stream);
  second.pushLater(Buffer.from("a"));
  second.stop();
  second.flush();
  assert.equal(second.pending, 0);
});
