import assert from "node:assert/strict";
import { test } from "node:test";
import { codeOf } from "../../core/errors.ts";
import { noLog } from "../../core/log.ts";
import { proxyBuiltins } from "./proxies.ts";

const address = "/run/p.sock";

test("one entry for each table, by short and by full type", async () => {
  const table = {
    a: {
      type: "snapshot",
      address: `unix://${address}`,
      platform: "linux/arm64/v8",
      capabilities: ["rebase"],
    },
    b: { type: "io.containerd.content.v1", address, exports: { root: "/x" } },
    c: { type: "diff", address },
    d: { type: "sandbox", address },
  };
  const found = proxyBuiltins(table, [], noLog);
  assert.deepEqual(
    found.map((b) => b.uri),
    [
      "io.containerd.snapshotter.v1.a",
      "io.containerd.content.v1.b",
      "io.containerd.differ.v1.c",
      "io.containerd.sandbox.controller.v1.d",
    ],
  );
  for (const { uri, load } of found) {
    const { kind, id, onFailure } = (await load()).default;
    assert.equal(`${kind.type}.${id}`, uri);
    assert.equal(onFailure, "optional");
  }
  assert.deepEqual(proxyBuiltins(undefined, [], noLog), []);
});

test("unknown types are warned about and left out, as containerd does", () => {
  const warned: unknown[] = [];
  const log = { ...noLog, warn: (...said: unknown[]) => void warned.push(said) };
  assert.deepEqual(proxyBuiltins({ x: { type: "teapot", address } }, [], log), []);
  assert.equal(warned.length, 1);
});

test("what is wrong is named", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ type: "snapshot" }, /^proxy_plugins\.x\.address "": must be the absolute path/],
    [{ type: "snapshot", address: "relative" }, /"relative"/],
    [{ type: "snapshot", address, exports: { a: 1 } }, /exports: must be a table of texts/],
    [{ type: "snapshot", address, capabilities: "rebase" }, /capabilities: must be a list of texts/],
    [{ type: "snapshot", address, platform: "a/b/c/d" }, /platform "a\/b\/c\/d": want OS/],
  ];
  for (const [x, text] of cases)
    assert.throws(
      () => proxyBuiltins({ x }, [], noLog),
      (err) => codeOf(err) === "invalid-argument" && err instanceof Error && text.test(err.message),
      String(text),
    );
  const taken = {
    uri: "io.containerd.snapshotter.v1.native",
    load: () => Promise.reject(new Error("unused")),
  };
  assert.throws(
    () => proxyBuiltins({ native: { type: "snapshot", address } }, [taken], noLog),
    /is a plugin of this program, use another name/,
  );
});
