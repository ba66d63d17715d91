/**
 * Our `ctr` on our daemon: pull and push go through the server's Transfer service, with its progress and questions for
 * credentials. Debian's client sees the outcome. Needs root.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { testImages } from "../fixtures/images.ts";
import { startRegistry, USER } from "../fixtures/registry.ts";
import { type Daemon, startDaemon } from "../peers/peer.ts";
import { ok, type Pair, pairOn } from "./ctr.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

describe("ctr images on our daemon", () => {
  const images = testImages();
  let daemon: Daemon;
  let pair: Pair;
  before(async () => {
    const lead = "Deno" in globalThis ? ["run", "-A"] : [];
    daemon = await startDaemon({ command: [process.execPath, ...lead, MAIN, "daemon"] });
    pair = pairOn(daemon, "1.7");
  });
  after(() => daemon.stop());

  test("pull through the server, and with --local; both complete", async () => {
    await using registry = await startRegistry({ filled: images });
    const remote = ok(pair.ours("images", "pull", "--snapshotter", "native", registry.ref("multi")));
    assert.match(remote, /^layer-sha256:\S+: extracted/m);
    assert.match(remote, /: Completed pull from /);
    ok(pair.ours("images", "pull", "--snapshotter", "native", "--local", registry.ref("layers10")));
    const rows = pair.same("images", "check", "--snapshotter", "native").out.split("\n").slice(1, -1);
    assert.equal(rows.length, 2);
    for (const row of rows) assert.match(row, /complete \(\d+\/\d+\) .* true$/);
    pair.same("images", "ls");
    assert.equal(ok(pair.ours("leases", "ls", "-q")), "");
  });

  test("the server asks for the password, and says no to a wrong one", async () => {
    await using guarded = await startRegistry({ tls: true, auth: true });
    const ref = guarded.ref("pushed");
    ok(pair.ours("images", "import", "--snapshotter", "native", images.archive("busybox")));
    const from = "gantry.test/busybox:latest";
    const wrong = pair.ours("images", "push", "-u", `${USER.name}:wrong`, ref, from);
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /401 Unauthorized/);
    ok(pair.ours("images", "push", "-u", `${USER.name}:${USER.password}`, ref, from));
    ok(pair.ours("images", "pull", "--snapshotter", "native", "-u", `${USER.name}:${USER.password}`, ref));
    assert.equal(pair.ours("images", "pull", ref).code, 1);
  });
});
