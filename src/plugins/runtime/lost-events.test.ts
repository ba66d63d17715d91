import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { loggerTo } from "../../../shims/shared/log.ts";
import { createOutbox } from "../../../shims/shared/outbox.ts";
import { TaskDeleteSchema, TaskExitSchema } from "../../api/gen/containerd/events/task_pb.ts";
import { background } from "../../core/call.ts";
import type { Envelope } from "../../core/events/events.ts";
import { Exchange } from "../events/exchange.ts";
import { LostEvents } from "./lost-events.ts";
import { oldRunc } from "./runc-version.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-lost-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const quiet = loggerTo(() => {}, false, {});

test("events of a killed shim are passed on once, in order; ends are known after", async () => {
  const bundle = { namespace: "ns", id: "a", path: dir, work: dir };
  const outbox = createOutbox(
    join(dir, "outbox"),
    () => new Promise(() => {}), // the daemon is away
    () => false,
    quiet,
  );
  const event = (topic: string, typeUrl: string, value: Uint8Array): void =>
    outbox.push({
      timestamp: { seconds: 5n, nanos: 7 },
      namespace: "ns",
      topic,
      event: { typeUrl, value },
    });
  const exit = (containerId: string, id: string): Uint8Array =>
    toBinary(TaskExitSchema, create(TaskExitSchema, { containerId, id, exitStatus: 3 }));
  event("/tasks/exit", "containerd.events.TaskExit", exit("a", "exec"));
  event("/tasks/exit", "containerd.events.TaskExit", exit("a", "a"));
  const gone = toBinary(TaskDeleteSchema, create(TaskDeleteSchema, { containerId: "b" }));
  event("/tasks/delete", "containerd.events.TaskDelete", gone);

  const got: Envelope[] = [];
  const exchange = {
    publish: () => {},
    forward: (_call: unknown, e: Envelope) => void got.push(e),
    wasForwarded: () => false,
    async *subscribe() {},
  };
  const lost = new LostEvents(exchange, background);
  lost.replay([bundle]);
  lost.replay([bundle]);
  assert.deepEqual(
    got.map((e) => e.topic),
    ["/tasks/exit", "/tasks/exit", "/tasks/delete"],
  );
  assert.equal(got[0]?.timestamp, 5_000_000_007n);
  assert.equal(got[0]?.namespace, "ns");
  assert.equal(existsSync(join(dir, "outbox")), false);
  assert.deepEqual(lost.take(bundle), { exit: true, deleted: false });
  assert.deepEqual(lost.take(bundle), { exit: false, deleted: false });
  assert.deepEqual(lost.take({ ...bundle, id: "b" }), { exit: false, deleted: true });
});

test("an event that arrived, and whose shim was killed before it noted that, is not told twice", () => {
  const path = join(dir, "noted");
  mkdirSync(path);
  const bundle = { namespace: "ns", id: "a", path, work: path };
  const outbox = createOutbox(
    join(path, "outbox"),
    () => new Promise(() => {}),
    () => false,
    quiet,
  );
  const exit = (pid: number): Envelope => {
    const value = toBinary(TaskExitSchema, create(TaskExitSchema, { containerId: "a", id: "a", pid }));
    const event = { typeUrl: "containerd.events.TaskExit", value };
    return { timestamp: 5_000_000_007n, namespace: "ns", topic: "/tasks/exit", event };
  };
  for (const envelope of [exit(1), exit(2)])
    outbox.push({ ...envelope, timestamp: { seconds: 5n, nanos: 7 } });
  const exchange = new Exchange(quiet);
  exchange.forward(background, exit(1));
  const got: Envelope[] = [];
  const lost = new LostEvents(
    {
      publish: () => {},
      forward: (_call, e) => void got.push(e),
      wasForwarded: (e) => exchange.wasForwarded(e),
      async *subscribe() {},
    },
    background,
  );
  lost.replay([bundle]);
  assert.deepEqual(
    got.map(({ event }) => fromBinary(TaskExitSchema, event.value).pid),
    [2],
  );
  // both are told, by whomever
  assert.deepEqual(lost.take(bundle), { exit: true, deleted: false });
});

test("old runc is told from mended runc", () => {
  for (const text of ["runc version 1.1.5+ds1\ncommit: x", "runc version 1.2.7", "runc version 1.3.0"])
    assert.match(oldRunc(text) ?? "", /CVE-2025-31133/, text);
  assert.match(oldRunc("runc version 1.1.12") ?? "", /CVE-2024-45310/);
  assert.doesNotMatch(oldRunc("runc version 1.1.15") ?? "", /CVE-2024-45310/);
  for (const text of [
    "runc version 1.2.8",
    "runc version 1.3.4",
    "runc version 1.4.0",
    "runc version 1.5.0-rc.1",
  ])
    assert.equal(oldRunc(text), undefined, text);
  assert.equal(oldRunc("crun version 1.8.1"), undefined);
});
