import assert from "node:assert/strict";
import { test } from "node:test";
import { inNs } from "../../test/contract/harness.ts";
import { codeOf, permissionDenied } from "../core/errors.ts";
import { parseDigest } from "../core/ids/digest.ts";
import type { ImageInput, ImageStore } from "../core/images/images.ts";
import type { ImageVerifier } from "../core/transfer/transfer.ts";
import { gatedImages } from "./images-gate.ts";

const image = (name: string): ImageInput => ({
  name,
  labels: new Map(),
  target: { mediaType: "m", digest: parseDigest(`sha256:${"a".repeat(64)}`), size: 1n },
});

function store(): { readonly images: ImageStore; readonly done: string[] } {
  const done: string[] = [];
  const made = (what: string, i: ImageInput) => {
    done.push(`${what} ${i.name}`);
    return Promise.resolve({ ...i, createdAt: 0n, updatedAt: 0n });
  };
  const images: ImageStore = {
    get: (_call, name) => made("get", image(name)),
    list: () => Promise.resolve([]),
    delete: async () => {},
    create: (_call, i) => made("create", i),
    update: (_call, i) => made("update", i),
  };
  return { images, done };
}

const refusing = (forClients: boolean): ImageVerifier => ({
  forClients,
  async verify(_call, name) {
    if (name.includes("bad")) throw permissionDenied(`image "${name}" refused`);
  },
});

test("names and targets that clients bring are checked when a verifier says so; labels are not", async () => {
  const call = inNs("testing");
  const { images, done } = store();
  const gated = gatedImages(images, [refusing(true)]);
  const refused = (err: unknown): boolean => codeOf(err) === "permission-denied";
  await gated.create(call, image("good"));
  await assert.rejects(gated.create(call, image("bad")), refused);
  await assert.rejects(gated.update(call, image("bad"), []), refused);
  await assert.rejects(gated.update(call, image("bad"), ["target"]), refused);
  await gated.update(call, image("bad"), ["labels.a"]);
  await gated.update(call, image("good"), ["target"]);
  await gated.get(call, "bad");
  assert.deepEqual(done, ["create good", "update bad", "update good", "get bad"]);
});

test("without such a verifier the store is used as it is", () => {
  const { images } = store();
  assert.equal(gatedImages(images, [refusing(false)]), images);
  assert.equal(gatedImages(images, []), images);
});
