/**
 * CheckpointContainer. CRIU itself is played by a wrapper around runc, for it does not start on every kernel; everything else
 * is real. Needs root; see cri-bed.ts.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ContainerState } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { until } from "./client.ts";
import { CriBed, cannotRun } from "./cri-bed.ts";

/** A runc whose checkpoint writes a file; everything else is runc's. */
const FAKE = `#!/bin/sh
previous=""; images=""; mode=""
for word in "$@"; do
  [ "$previous" = --image-path ] && images="$word"
  [ "$word" = checkpoint ] && mode=checkpoint
  previous="$word"
done
[ "$mode" = checkpoint ] || exec runc "$@"
echo memory > "$images/pages-1.img"
`;

test("the archive has process, files, spec, configuration, status and log; the container runs on", {
  skip: cannotRun,
}, async () => {
  const tools = mkdtempSync(join(tmpdir(), "gantry-criu-"));
  try {
    writeFileSync(join(tools, "runc"), FAKE, { mode: 0o755 });
    await using bed = await CriBed.start({
      config: `[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "${tools}/runc"`,
    });
    const config = bed.pod("frozen");
    const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
    const containerId = await bed.runContainer(
      podSandboxId,
      config,
      bed.container("c", "echo changed > /new-file; rm /etc/group; echo ready; sleep 1000"),
    );
    const log = join(bed.dir, "logs/frozen/c.log");
    await until("it is ready", () => existsSync(log) && statSync(log).size > 0);
    const location = join(bed.dir, "made", "checkpoint.tar");
    await bed.runtime.checkpointContainer({ containerId, location });
    const tar = (...args: string[]): string => {
      const done = spawnSync("tar", args, { encoding: "utf8" });
      assert.equal(done.status, 0, done.stderr);
      return done.stdout;
    };
    assert.deepEqual(tar("-tf", location).trim().split("\n"), [
      "checkpoint/",
      "checkpoint/pages-1.img",
      "config.dump",
      "container.log",
      "rootfs-diff.tar",
      "spec.dump",
      "status.dump",
    ]);
    assert.equal(statSync(location).mode & 0o777, 0o600);
    assert.match(tar("-xOf", location, "container.log"), /stdout F ready/);
    assert.equal(JSON.parse(tar("-xOf", location, "config.dump")).id, containerId);
    assert.ok(JSON.parse(tar("-xOf", location, "spec.dump")).process.args.includes("sh"));
    tar("-C", tools, "-xf", location, "rootfs-diff.tar");
    const changes = tar("-tf", join(tools, "rootfs-diff.tar"));
    assert.match(changes, /^new-file$/m);
    assert.match(changes, /^etc\/\.wh\.group$/m);
    const { status } = await bed.runtime.containerStatus({ containerId });
    assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
    // nothing stays in the engine
    assert.doesNotMatch(bed.ctr("snapshots", "ls"), /checkpoint-/);
    await assert.rejects(
      bed.runtime.checkpointContainer({ containerId, location: "relative" }),
      /absolute path/,
    );
    await bed.runtime.stopContainer({ containerId, timeout: 0n });
    await assert.rejects(bed.runtime.checkpointContainer({ containerId, location }), /is not running/);
  } finally {
    rmSync(tools, { recursive: true, force: true });
  }
});
