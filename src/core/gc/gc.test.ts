import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { conditionHolds, expiryOf, labelRefs, parseDuration } from "./labels.ts";
import { Marker, reachable } from "./mark.ts";
import { type NodeId, nodeId, parseNode, parseSnapshotKey } from "./nodes.ts";

const node = (key: string): NodeId => nodeId("content", "n", key);

describe("gc", () => {
  test("node names", () => {
    assert.deepEqual(parseNode(nodeId("snapshot", "ns", "overlayfs/a/b")), {
      kind: "snapshot",
      namespace: "ns",
      key: "overlayfs/a/b",
    });
    assert.deepEqual(parseSnapshotKey("overlayfs/a/b"), { snapshotter: "overlayfs", name: "a/b" });
    assert.equal(parseSnapshotKey("x"), undefined);
  });

  test("marking reaches everything once, through cycles, and can go on later", () => {
    const edges: Record<string, string[]> = {
      a: ["b", "c"],
      b: ["c", "a"],
      c: ["d"],
      e: ["f"],
      f: ["e"],
      g: ["a"],
    };
    const visited: string[] = [];
    const refs = (n: NodeId): NodeId[] => {
      const { key } = parseNode(n);
      visited.push(key);
      return (edges[key] ?? []).map(node);
    };
    const all = reachable([node("a")], refs);
    assert.deepEqual(
      ["a", "b", "c", "d", "e", "f", "g"].filter((k) => all.has(node(k))),
      ["a", "b", "c", "d"],
    );
    assert.equal(visited.length, 4);
    const marker = new Marker(refs);
    marker.add(node("a"));
    let steps = 1;
    while (marker.step(1)) steps++;
    assert.equal(steps, 4);
    assert.equal(marker.size, 4);
    marker.add(node("e"));
    while (marker.step(10)) {
      // until done
    }
    assert.ok(marker.has(node("f")) && !marker.has(node("g")));
  });

  test("labels", () => {
    const refs = (record: Record<string, string>) => labelRefs("n", new Map(Object.entries(record)));
    const snapshot = (key: string): NodeId => nodeId("snapshot", "n", key);
    assert.equal(refs({ other: "x", "containerd.io/gc.root": "" }).root, true);
    assert.equal(refs({ "containerd.io/gcroot": "" }).root, false);
    const cases: [key: string, value: string, ref: NodeId | undefined, back: NodeId | undefined][] = [
      ["ref.content", "d", node("d"), undefined],
      ["ref.content.m.0", "d", node("d"), undefined],
      ["ref.content/config", "d", node("d"), undefined],
      ["ref.contents", "d", undefined, undefined],
      ["ref.image", "i", nodeId("image", "n", "i"), undefined],
      ["ref.container", "c", undefined, undefined],
      ["ref.snapshot.overlayfs", "sha256:a", snapshot("overlayfs/sha256:a"), undefined],
      ["ref.snapshot.overlayfs/1", "k/y", snapshot("overlayfs/k/y"), undefined],
      ["bref.content", "d", undefined, node("d")],
      ["bref.image.x", "i", undefined, nodeId("image", "n", "i")],
      ["bref.container/x", "c", undefined, nodeId("container", "n", "c")],
      ["bref.snapshot.native/x", "k", undefined, snapshot("native/k")],
    ];
    for (const [key, value, ref, back] of cases) {
      const found = refs({ [`containerd.io/gc.${key}`]: value });
      assert.deepEqual(found.refs, ref === undefined ? [] : [ref], key);
      assert.deepEqual(found.backRefs, back === undefined ? [] : [back], key);
    }
    const found = refs({
      "containerd.io/gc.cond.snapshot.overlayfs/1": "usedat<1h,usedat>=3h,usedat>2h,x=1|the|key",
    });
    assert.deepEqual(found.conditions, [
      { target: snapshot("overlayfs/the|key"), operator: "<", age: 3_600_000_000_000n },
      { target: snapshot("overlayfs/the|key"), operator: ">", age: 7_200_000_000_000n },
    ]);
    assert.deepEqual(refs({ "containerd.io/gc.cond.snapshot.overlayfs": "usedat<1h" }).conditions, []);
    assert.equal(
      refs({ "containerd.io/gc.cond.value-usedat": "1970-01-01T00:00:01Z" }).usedAt,
      1_000_000_000n,
    );
    const condition = { target: node("x"), operator: "<", age: 10n } as const;
    assert.equal(conditionHolds(condition, 100n, 109n), true);
    assert.equal(conditionHolds(condition, 100n, 110n), false);
    assert.equal(conditionHolds({ ...condition, operator: ">" }, 100n, 111n), true);
  });

  test("times", () => {
    const cases: [string, bigint | undefined][] = [
      ["0", 0n],
      ["100ms", 100_000_000n],
      ["1h30m", 5_400_000_000_000n],
      ["1.5s", 1_500_000_000n],
      [".5s", 500_000_000n],
      ["-2m", -120_000_000_000n],
      ["1d", undefined],
      ["", undefined],
      ["5", undefined],
    ];
    for (const [text, want] of cases) assert.equal(parseDuration(text), want, text);
    assert.equal(
      expiryOf(new Map([["containerd.io/gc.expire", "1970-01-01T01:00:01+01:00"]])),
      1_000_000_000n,
    );
    assert.equal(expiryOf(new Map([["containerd.io/gc.expire", "tomorrow"]])), undefined);
    assert.equal(expiryOf(new Map()), undefined);
  });
});
