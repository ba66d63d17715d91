/**
 * No file left to be opened (reliability R24): a daemon whose limit is used up by idle connections, then by nothing to spare for its own
 * work. It answers again when there is room, what failed says why, and nothing is left. Needs root.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { test } from "node:test";
import { steadyCensus } from "../integration/census.ts";
import { until } from "../integration/client.ts";
import { giveBack, leftNothing, makeBed } from "../integration/suite.ts";

const skip = process.getuid?.() !== 0 ? "needs root" : false;

test("connections up to the limit, then no room for work: it lives, says why, and goes on", {
  skip,
  timeout: 120_000,
}, async () => {
  const bed = await makeBed("ours", "ours");
  try {
    const { engine, ctr, image, images } = bed;
    const { pid } = engine;
    const open = (): number => readdirSync(`/proc/${pid}/fd`).length;
    const limit = (files: number): void => {
      execFileSync("prlimit", ["--pid", String(pid), `--nofile=${files}:4096`]);
    };
    const counted = await steadyCensus(engine);
    const room = open() + 20;
    limit(room);
    const idle = Array.from({ length: 60 }, () => connect({ path: engine.address }).on("error", () => {}));
    await until("the limit", () => open() >= room);
    for (const socket of idle) socket.destroy();
    await Promise.all(idle.map((socket) => (socket.closed ? undefined : once(socket, "close"))));
    assert.equal(await ctr.ok("run", "--rm", image, engine.id("after"), "echo", "here"), "here\n");

    await until("its usual files", () => open() < room - 10);
    limit(open() + 4);
    const said = await ctr.run("images", "import", images.archive("layers10"));
    if (said.code !== 0) assert.match(said.err, /too many open files|EMFILE/);
    limit(4096);
    await ctr.ok("images", "import", images.archive("layers10"));
    await ctr.ok(
      "images",
      "rm",
      "--sync",
      ...(await ctr.ok("images", "ls", "-q")).split("\n").filter((name) => name.includes("layers10")),
    );
    await leftNothing(engine, counted);
  } finally {
    await giveBack(bed);
  }
});
