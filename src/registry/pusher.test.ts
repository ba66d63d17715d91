import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { FakeRegistry } from "../../test/fakes/registry.ts";
import { codeOf } from "../core/errors.ts";
import { describe } from "../oci/descriptors.ts";
import { DOCKER_LAYER } from "../oci/media-types.ts";
import { Registry } from "./registry.ts";

const never = new AbortController().signal;
const bytes = randomBytes(500_000);
const desc = describe(DOCKER_LAYER, bytes);

async function push(fake: FakeRegistry, chunkBytes?: number): Promise<{ outcome: unknown; read: number }> {
  await using registry = new Registry({ dockerConfig: false, limits: { initialDelayMs: 1 } });
  const { pusher } = await registry.session(`${fake.host}/team/app:v1`);
  let read = 0;
  const outcome = await pusher.push({
    desc,
    async *open(offset) {
      for (let at = Number(offset); at < bytes.length; at += 10_000) {
        const part = bytes.subarray(at, at + 10_000);
        read += part.length;
        yield part;
      }
    },
    signal: never,
    ...(chunkBytes === undefined ? {} : { chunkBytes }),
  });
  return { outcome, read };
}

test("a broken upload goes on behind the bytes that the registry has", async () => {
  await using fake = await FakeRegistry.start();
  fake.fail({ match: "PUT /v2/team/app/blobs/uploads/", breakAfter: 300_000 });
  fake.fail({ match: "PATCH /v2/team/app/blobs/uploads/", breakAfter: 100_000 });
  assert.equal((await push(fake)).outcome, "pushed");
  assert.ok(Buffer.from(fake.blobs.get(desc.digest) ?? []).equals(bytes));
  assert.equal(fake.requests("POST /v2/").length, 1);
  const ranges = fake.requests("PATCH /v2/").map((r) => r.headers["content-range"]);
  assert.deepEqual(ranges, ["300000-499999", "400000-499999"]);
});

test("pieces: each broken one is asked about, and only the rest is sent again", async () => {
  await using fake = await FakeRegistry.start();
  fake.fail({ match: "PATCH /v2/team/app/blobs/uploads/", breakAfter: 70_000, times: 3 });
  assert.equal((await push(fake, 150_000)).outcome, "pushed");
  assert.ok(Buffer.from(fake.blobs.get(desc.digest) ?? []).equals(bytes));
  const starts = fake.requests("PATCH /v2/").map((r) => Number(r.headers["content-range"]?.split("-")[0]));
  assert.deepEqual(starts, [0, 70_000, 140_000, 210_000, 360_000]);
});

test("an upload that the registry forgot begins anew; one that never gets on gives up", async () => {
  await using fake = await FakeRegistry.start();
  fake.fail({ match: "PUT /v2/team/app/blobs/uploads/u0", status: 404 });
  fake.fail({ match: "GET /v2/team/app/blobs/uploads/u0", status: 404 });
  assert.equal((await push(fake)).outcome, "pushed");
  assert.equal(fake.requests("POST /v2/").length, 2);
  await using dead = await FakeRegistry.start();
  dead.fail({ match: /P(UT|ATCH) /, status: 503, times: 100 });
  await assert.rejects(push(dead), (err) => codeOf(err) === "unavailable");
});
