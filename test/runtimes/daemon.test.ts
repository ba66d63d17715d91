/**
 * The daemon from source under Bun and under Deno: starts, answers Debian's client, imports, runs a container, leaves nothing.
 * This file itself runs under both. Needs root and runc.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { settled, steadyCensus } from "../integration/census.ts";
import { startEngine } from "../integration/engine.ts";

for (const kind of ["bun", "deno"] as const) {
  test(`the daemon under ${kind}: version, import, run`, { timeout: 120_000 }, async () => {
    await using engine = await startEngine(kind);
    const ctr = engine.client("1.6");
    assert.match(await ctr.ok("version"), /Server:\n {2}Version: +\S+/);
    await ctr.ok("images", "import", testImages().archive("busybox"));
    const image = imageName("busybox");
    const warm = await ctr.run("run", "--rm", image, engine.id("warm"), "true");
    assert.equal(warm.code, 0, warm.err + engine.log().slice(-2000));
    const before = await steadyCensus(engine);
    const said = await ctr.run("run", "--rm", image, engine.id("one"), "sh", "-c", "echo it runs; exit 12");
    assert.equal(said.out, "it runs\n", said.err);
    assert.equal(said.code, 12);
    await ctr.ok("run", "-d", image, engine.id("two"), "sleep", "1000");
    const [id = ""] = (await ctr.ok("tasks", "ls", "-q")).split("\n");
    const inside = await ctr.run("tasks", "exec", "--exec-id", "e", id, "sh", "-c", "echo in; exit 4");
    assert.equal(inside.out, "in\n", inside.err);
    assert.equal(inside.code, 4);
    await ctr.ok("tasks", "rm", "-f", id);
    await ctr.ok("containers", "rm", id);
    assert.equal(await settled(engine, before), "");
    assert.ok(await engine.end("SIGTERM"), "the daemon ends by itself");
  });
}
