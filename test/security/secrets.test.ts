/**
 * Secrets of a pull (reliability S16): passwords, tokens and signed URLs of a registry that fails in every way stand in no error, no
 * event and no log, at the most talkative level. A real daemon. Needs root.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FakeRegistry } from "../fakes/registry.ts";
import { Engine } from "../integration/engine.ts";

const skip = process.getuid?.() !== 0 ? "needs root" : false;
const SECRETS = ["pass-Zx81", "sig-Qm42", "user-Info7"];

test("a registry that fails: no secret is told", { skip, timeout: 120_000 }, async () => {
  await using engine = new Engine("ours");
  const config = join(engine.dir, "config.toml");
  writeFileSync(config, `${readFileSync(config, "utf8")}\n[debug]\n  level = "trace"\n`);
  await engine.start();
  const ctr = engine.client("ours");
  const events = ctr.start(["events"], { timeout: 100_000 });
  const said: string[] = [];
  for (const kind of ["basic", "bearer"] as const) {
    await using fake = await FakeRegistry.start({
      auth: { kind, username: "tester", password: "pass-Zx81" },
    });
    await using store = await FakeRegistry.start();
    const image = fake.addImage("team/app", "v1", [randomBytes(5000)]);
    const signed = `http://user-Info7:pass-Zx81@${store.host}/blob?X-Signature=sig-Qm42&token=sig-Qm42`;
    const pull = async (): Promise<void> => {
      const pulled = await ctr.run(
        "images",
        "pull",
        "--plain-http",
        "--user",
        "tester:pass-Zx81",
        `${fake.host}/team/app:v1`,
      );
      assert.notEqual(pulled.code, 0);
      said.push(pulled.err, pulled.out);
    };
    for (const status of [404, 403, 501]) {
      fake.faults.length = 0;
      fake.fail({
        match: `GET /v2/team/app/blobs/${image.layers[0]}`,
        times: 99,
        status: 307,
        headers: { location: signed },
      });
      store.fail({ times: 99, status, body: `{"errors":[{"code":"DENIED","message":"${signed}"}]}` });
      await pull();
      assert.ok(store.requests("/blob").length > 0);
      store.faults.length = 0;
    }
    fake.faults.length = 0;
    fake.fail({
      match: "/manifests/",
      times: 99,
      status: 400,
      body: `Authorization: Bearer sig-Qm42 ${signed}`,
    });
    await pull();
    fake.faults.length = 0;
    fake.auth = { kind, username: "tester", password: "another" };
    await pull();
  }
  events.kill("SIGTERM");
  await events.done;
  const told = [...said, events.out(), engine.log()].join("\n");
  for (const secret of SECRETS)
    assert.ok(
      !told.includes(secret),
      `${secret}: ${told.slice(Math.max(0, told.indexOf(secret) - 300), told.indexOf(secret) + 50)}`,
    );
});
