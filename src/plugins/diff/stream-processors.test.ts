import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { background, type NamespacedCall } from "../../core/call.ts";
import { chainFor, parseStreamProcessors, runChain } from "./stream-processors.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-processors-"));
after(() => rmSync(dir, { recursive: true }));
const call = background.in("test" as never) as NamespacedCall;
const blob = join(dir, "blob");
writeFileSync(blob, "secret");

const sh = (id: string, accepts: string, returns: string, script: string) => ({
  [id]: { accepts: [accepts], returns, path: "/bin/sh", args: ["-c", script], env: ["EXTRA=more"] },
});

async function read(output: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of output) parts.push(part);
  return Buffer.concat(parts).toString();
}

test("programs in a row: types in the environment, the client's payload on descriptor 3", async () => {
  const all = parseStreamProcessors({
    ...sh("one", "a", "b", 'tr a-z A-Z; printf " %s %s" "$STREAM_PROCESSOR_MEDIATYPE" "$EXTRA"'),
    ...sh("two", "b", "tar", 'cat; printf " %s " "$STREAM_PROCESSOR_MEDIATYPE"; tail -c 3 <&3'),
  });
  const chain = chainFor(all, "a", (type) => type === "tar");
  assert.deepEqual(
    chain?.map((p) => p.id),
    ["one", "two"],
  );
  const payloads = new Map([["two", { typeUrl: "type", value: Buffer.from("key") }]]);
  assert.equal(await read(runChain(call, chain ?? [], blob, "a", payloads)), "SECRET a more b key");
});

test("a type that no program takes has no chain; one that never ends is refused", () => {
  const all = parseStreamProcessors(sh("one", "a", "a", "cat"));
  assert.equal(
    chainFor(all, "x", () => false),
    undefined,
  );
  assert.throws(() => chainFor(all, "a", () => false), /never end/);
});

test("a program that fails after its output fails the layer, with what it said", async () => {
  const all = parseStreamProcessors(sh("one", "a", "tar", "cat; echo no key >&2; exit 7"));
  await assert.rejects(read(runChain(call, all, blob, "a", undefined)), /"one" ended with code 7: no key/);
});

test("the end of the call ends a program that hangs, with its children", async () => {
  const pid = join(dir, "pid");
  const all = parseStreamProcessors(
    sh("one", "a", "tar", `sleep 600 & echo $! > ${pid}.new; mv ${pid}.new ${pid}; echo up; wait`),
  );
  const stop = new AbortController();
  const output = runChain(call.until(stop.signal) as NamespacedCall, all, blob, "a", undefined);
  assert.equal((await output.next()).done, false);
  stop.abort();
  await assert.rejects(read(output));
  const child = readFileSync(pid, "utf8").trim();
  const state = (): string =>
    existsSync(`/proc/${child}`) ? readFileSync(`/proc/${child}/stat`, "utf8") : "Z";
  while (!/\bZ\b/.test(state())) await new Promise((resolve) => setImmediate(resolve));
});
