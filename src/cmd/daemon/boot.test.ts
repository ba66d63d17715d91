import assert from "node:assert/strict";
import { test } from "node:test";
import { Call } from "../../core/call.ts";
import { noLog } from "../../core/log.ts";
import { MetricRegistry } from "../../core/metrics/metrics.ts";
import {
  type AnyPluginDefinition,
  all,
  type DaemonFacts,
  defineKind,
  definePlugin,
  noConfig,
  one,
  optional,
  SkipPlugin,
} from "../../core/plugin/plugin.ts";
import { type BootOptions, boot, sortByRequirements } from "./boot.ts";

const A = defineKind<{ a: number }>("test.a");
const B = defineKind<{ b: number }>("test.b");

const facts: DaemonFacts = {
  version: "0",
  revision: "",
  root: "/r",
  state: "/s",
  temp: "",
  address: "",
  ttrpcAddress: "",
  configPath: "",
  timeout: (_n, ms) => ms,
  settings: {},
};

function options(definitions: AnyPluginDefinition[], more: Partial<BootOptions> = {}): BootOptions {
  return {
    builtins: definitions.map((d) => ({ uri: `${d.kind.type}.${d.id}`, load: async () => ({ default: d }) })),
    facts,
    log: noLog,
    call: new Call(),
    metrics: new MetricRegistry(),
    disabled: new Set(),
    required: new Set(),
    tables: {},
    ...more,
  };
}

const a1 = definePlugin({
  kind: A,
  id: "one",
  requires: {},
  config: noConfig,
  onFailure: "optional",
  init: () => ({ a: 1 }),
});
const aBad = definePlugin({
  kind: A,
  id: "bad",
  requires: {},
  config: noConfig,
  onFailure: "optional",
  init: (): { a: number } => {
    throw new Error("no disk");
  },
});
const b = definePlugin({
  kind: B,
  id: "sum",
  requires: { first: one(A, "one"), every: all(A), maybe: optional(A, "bad") },
  config: noConfig,
  onFailure: "optional",
  init: (_h, deps) => ({ b: deps.first.a + deps.every.size + (deps.maybe === undefined ? 0 : 100) }),
});

test("starts in order of requirements and hands over typed dependencies", async () => {
  const booted = await boot(options([b, aBad, a1]));
  assert.deepEqual([...booted.instances("test.b").values()], [{ b: 2 }]);
  assert.deepEqual(booted.plugins.map((p) => `${p.id}:${p.state}`).sort(), ["bad:error", "one:ok", "sum:ok"]);
});

test("a plugin whose requirement failed tells the reason", async () => {
  const needs = definePlugin({
    kind: B,
    id: "x",
    requires: { a: one(A, "bad") },
    config: noConfig,
    onFailure: "optional",
    init: () => ({ b: 0 }),
  });
  const booted = await boot(options([needs, aBad]));
  const status = booted.plugins.find((p) => p.id === "x");
  assert.match(String(status?.error), /test\.a\.bad.*no disk/);
});

test("a required plugin that fails stops the boot, a skipped one is shown as skipped", async () => {
  await assert.rejects(boot(options([aBad], { required: new Set(["test.a.bad"]) })), /required_plugins/);
  await assert.rejects(boot(options([a1], { required: new Set(["test.a.none"]) })), /not loaded/);
  const skip = definePlugin({
    kind: A,
    id: "skip",
    requires: {},
    config: noConfig,
    onFailure: "fatal",
    init: (): { a: number } => {
      throw new SkipPlugin("kernel lacks it");
    },
  });
  assert.equal((await boot(options([skip]))).plugins[0]?.state, "skip");
});

test("a fatal failure disposes what started, in reverse", async () => {
  const order: string[] = [];
  const make = (id: string): AnyPluginDefinition =>
    definePlugin({
      kind: A,
      id,
      requires: {},
      config: noConfig,
      onFailure: "fatal",
      init: (host) => {
        host.onStop(async () => {
          order.push(id);
        });
        return { a: 0 };
      },
    });
  const fatal = definePlugin({ ...aBad, onFailure: "fatal" });
  await assert.rejects(boot(options([make("1"), make("2"), fatal])), /no disk/);
  assert.deepEqual(order, ["2", "1"]);
});

test("a cycle prints its chain", () => {
  const x = definePlugin({
    kind: A,
    id: "x",
    requires: { b: one(B) },
    config: noConfig,
    onFailure: "fatal",
    init: () => ({ a: 0 }),
  });
  const y = definePlugin({
    kind: B,
    id: "y",
    requires: { a: one(A) },
    config: noConfig,
    onFailure: "fatal",
    init: () => ({ b: 0 }),
  });
  assert.throws(() => sortByRequirements([x, y]), /test\.a\.x -> test\.b\.y -> test\.a\.x/);
});

test("disabled plugins are never loaded", async () => {
  const booted = await boot(
    options([a1], {
      disabled: new Set(["test.a.one"]),
      builtins: [{ uri: "test.a.one", load: () => Promise.reject(new Error("loaded")) }],
    }),
  );
  assert.equal(booted.plugins.length, 0);
});
