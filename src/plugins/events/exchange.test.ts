import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { TaskExitSchema } from "../../api/gen/containerd/events/task_pb.ts";
import { Call } from "../../core/call.ts";
import { codeOf } from "../../core/errors.ts";
import type { Envelope } from "../../core/events/events.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { noLog } from "../../core/log.ts";
import { Exchange } from "./exchange.ts";
import { encodeEvent } from "./types.ts";

const ns = new Call().in(parseNamespace("testing"));
const other = new Call().in(parseNamespace("other"));

async function take(events: AsyncIterable<Envelope>, count: number): Promise<Envelope[]> {
  const out: Envelope[] = [];
  if (count === 0) return out;
  for await (const event of events) {
    out.push(event);
    if (out.length === count) break;
  }
  return out;
}

describe("event exchange", () => {
  test("a subscriber gets what happens after subscribing, in order, until its call ends", async () => {
    const exchange = new Exchange(noLog);
    exchange.send(ns, "/images/delete", { name: "before" });
    const stop = new AbortController();
    const events = exchange.subscribe(ns.until(stop.signal), []);
    exchange.send(ns, "/images/create", { name: "a", labels: { k: "v" } });
    exchange.send(other, "/tasks/exit", { containerId: "c", id: "c", pid: 7, exitStatus: 137 });
    stop.abort();
    exchange.send(ns, "/images/delete", { name: "after" });
    const got: Envelope[] = [];
    for await (const event of events) got.push(event);
    assert.deepEqual(
      got.map((e) => [e.namespace, e.topic, e.event.typeUrl]),
      [
        ["testing", "/images/create", "containerd.services.images.v1.ImageCreate"],
        ["other", "/tasks/exit", "containerd.events.TaskExit"],
      ],
    );
    assert.equal(fromBinary(TaskExitSchema, got[1]?.event.value ?? new Uint8Array()).exitStatus, 137);
    assert.ok((got[0]?.timestamp ?? 0n) > 1_700_000_000_000_000_000n);
  });

  test("filters: namespace, topic, fields of the payload; any of several", async () => {
    const cases: [filters: string[], want: string[]][] = [
      [["namespace==other"], ["/tasks/exit"]],
      [['topic=="/images/create"'], ["/images/create"]],
      [["topic~=|^/images/|"], ["/images/create", "/images/delete"]],
      [["event.name==a"], ["/images/create", "/images/delete"]],
      [["event.labels.k==v"], ["/images/create"]],
      [["event.container_id==c,event.exit_status==137"], ["/tasks/exit"]],
      [["event.io.stdin"], []],
      [["event.nope==x", "namespace==other"], ["/tasks/exit"]],
    ];
    for (const [filters, want] of cases) {
      const exchange = new Exchange(noLog);
      const stop = new AbortController();
      const events = exchange.subscribe(ns.until(stop.signal), filters);
      exchange.send(ns, "/images/create", { name: "a", labels: { k: "v" } });
      exchange.send(other, "/tasks/exit", { containerId: "c", exitStatus: 137 });
      exchange.send(ns, "/images/delete", { name: "a" });
      exchange.publish(ns, "/custom/x", { typeUrl: "containerd.events.TaskExit", value: Uint8Array.of(255) });
      stop.abort();
      const topics: string[] = [];
      for await (const event of events) topics.push(event.topic);
      assert.deepEqual(topics, want, filters.join(" | "));
    }
    assert.throws(
      () => new Exchange(noLog).subscribe(ns, ["topic==/x"]),
      (err) => codeOf(err) === "invalid-argument",
    );
  });

  test("topics and envelopes are checked", () => {
    const exchange = new Exchange(noLog);
    const event = encodeEvent("/images/delete", { name: "x" });
    for (const topic of ["", "/", "images", "/a//b", "/a/", "/a b"])
      assert.throws(
        () => exchange.publish(ns, topic, event),
        (err) => codeOf(err) === "invalid-argument",
        topic,
      );
    exchange.publish(ns, "/any/topic-1.x", event);
    const envelope: Envelope = { timestamp: 5n, namespace: "n", topic: "/tasks/oom", event };
    exchange.forward(ns, envelope);
    for (const bad of [{ timestamp: 0n }, { namespace: "" }, { namespace: "a/b" }, { topic: "x" }])
      assert.throws(
        () => exchange.forward(ns, { ...envelope, ...bad }),
        (err) => codeOf(err) === "invalid-argument",
      );
  });

  test("forwarded events keep their time and namespace", async () => {
    const exchange = new Exchange(noLog);
    const events = exchange.subscribe(ns, []);
    const envelope: Envelope = {
      timestamp: 5n,
      namespace: "n",
      topic: "/tasks/oom",
      event: encodeEvent("/tasks/oom", { containerId: "c" }),
    };
    exchange.forward(ns, envelope);
    assert.deepEqual(await take(events, 1), [envelope]);
  });

  test("events that were passed on are known for a while, each by all it says", () => {
    const exchange = new Exchange(noLog);
    const bytes = Buffer.from([1, 2, 3]);
    const of = (timestamp: bigint, value: Uint8Array): Envelope => ({
      timestamp,
      namespace: "n",
      topic: "/tasks/exit",
      event: { typeUrl: "containerd.events.TaskExit", value },
    });
    exchange.forward(ns, of(1n, bytes));
    // whoever read them uses the memory for something else
    bytes.fill(9);
    const first = of(1n, Uint8Array.of(1, 2, 3));
    assert.equal(exchange.wasForwarded(first), true);
    assert.equal(exchange.wasForwarded({ ...first, timestamp: 2n }), false);
    assert.equal(exchange.wasForwarded({ ...first, namespace: "m" }), false);
    assert.equal(exchange.wasForwarded({ ...first, topic: "/tasks/delete" }), false);
    assert.equal(exchange.wasForwarded(of(1n, Uint8Array.of(1, 2, 4))), false);
    for (let i = 2n; i <= 513n; i++) exchange.forward(ns, of(i, Uint8Array.of(0)));
    assert.equal(exchange.wasForwarded(first), false);
    assert.equal(exchange.wasForwarded(of(513n, Uint8Array.of(0))), true);
  });

  test("a subscriber that does not read is cut off; others and publishers are not", async () => {
    const exchange = new Exchange(noLog);
    const slow = exchange.subscribe(ns, []);
    const reader = exchange.subscribe(ns, ["event.name==last"]);
    for (let i = 0; i < 5000; i++) exchange.send(ns, "/images/delete", { name: String(i) });
    exchange.send(ns, "/images/delete", { name: "last" });
    assert.equal((await take(reader, 1)).length, 1);
    let count = 0;
    await assert.rejects(
      async () => {
        for await (const _event of slow) count++;
      },
      (err) => codeOf(err) === "resource-exhausted",
    );
    assert.equal(count, 4096);
  });

  test("a payload that cannot be encoded is counted, never thrown", () => {
    const exchange = new Exchange(noLog);
    void exchange.subscribe(ns, []);
    exchange.send(ns, "/unknown/topic", {});
    assert.equal(exchange.failures, 1);
  });
});
