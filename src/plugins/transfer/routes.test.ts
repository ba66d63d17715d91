import assert from "node:assert/strict";
import { test } from "node:test";
import type { Applier } from "../../core/diff/diff.ts";
import { codeOf, notImplemented } from "../../core/errors.ts";
import { parseTransferConfig } from "./config.ts";
import { diffOrder, unpackRoutes } from "./routes.ts";

const applier = (): Applier => ({ apply: () => Promise.reject(notImplemented("no")) });
const [walking, other, chain] = [applier(), applier(), applier()];
const parts = {
  walking,
  differs: new Map([
    ["walking", walking],
    ["other", other],
  ]),
  diffs: chain,
  order: ["walking"],
  backends: new Map([
    ["overlayfs", {}],
    ["erofs", {}],
  ]),
};
const AMD = { os: "linux", architecture: "amd64" };
const ARM = { os: "linux", architecture: "arm64" };
const TAR = "application/vnd.oci.image.layer.v1.tar";

const routes = (table: Readonly<Record<string, unknown>>, more: Partial<typeof parts> = {}) =>
  unpackRoutes(parseTransferConfig(table), { ...parts, ...more });

test("without entries: the diff service, streamed while our differ stands first in it", () => {
  assert.deepEqual(routes({})("overlayfs", AMD, [TAR]), { applier: chain, streamed: true });
  assert.equal(routes({}, { order: ["other", "walking"] })("overlayfs", AMD, [TAR]).streamed, false);
  assert.deepEqual(diffOrder({}), ["walking"]);
  const plugins = { "io.containerd.service.v1.diff-service": { default: ["other", "walking"] } };
  assert.deepEqual(diffOrder({ plugins }), ["other", "walking"]);
});

test("entries choose the differ by snapshotter, platform and layer types", () => {
  const route = routes({
    unpack_config: [
      { platform: "linux/amd64", snapshotter: "erofs", differ: "other", layer_types: [TAR] },
      { platform: "linux/amd64", snapshotter: "erofs", differ: "walking" },
    ],
  });
  assert.deepEqual(route("erofs", AMD, [TAR, TAR]), { applier: other, streamed: false });
  assert.deepEqual(route("erofs", AMD, [TAR, `${TAR}+gzip`]), { applier: walking, streamed: true });
  assert.equal(route("overlayfs", AMD, [TAR]).applier, chain);
  assert.equal(route("erofs", ARM, [TAR]).applier, chain);
});

test("check_platform_supported refuses what no entry is for", () => {
  const strict = routes({
    check_platform_supported: true,
    unpack_config: [{ platform: "linux/amd64", snapshotter: "erofs" }],
  });
  assert.equal(strict("erofs", AMD, [TAR]).applier, chain);
  for (const [snapshotter, platform] of [
    ["overlayfs", AMD],
    ["erofs", ARM],
  ] as const)
    assert.throws(
      () => strict(snapshotter, platform, [TAR]),
      (err) => codeOf(err) === "failed-precondition",
    );
});

test("entries that name what is not loaded are an error unless they are optional; wrong keys are named", () => {
  const gone = { snapshotter: "zfs", differ: "walking" };
  assert.throws(() => routes({ unpack_config: [gone] }), /unpack_config\.0: snapshotter "zfs" is not loaded/);
  assert.throws(() => routes({ unpack_config: [{ differ: "gone" }] }), /differ "gone" is not loaded/);
  assert.equal(
    routes({ unpack_config: [{ ...gone, optional: true }] })("overlayfs", AMD, [TAR]).applier,
    chain,
  );
  assert.throws(
    () => parseTransferConfig({ unpack_config: [{ layer_types: "x" }] }),
    /unpack_config\.0\.layer_types/,
  );
  assert.throws(
    () => parseTransferConfig({ unpack_config: [{ platform: "a/b/c/d" }] }),
    /platform|a\/b\/c\/d/,
  );
});
