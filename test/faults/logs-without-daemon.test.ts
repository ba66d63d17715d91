/**
 * A container writes 10 MB a second to its log while the daemon is dead (F8): no write blocks for a second, no line is lost or
 * torn. GANTRY_LOG_SECONDS says for how long the daemon is down (5). Real daemon, runc, CNI; needs root and perl.
 */
import assert from "node:assert/strict";
import { createReadStream, existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ContainerState } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { until } from "../integration/client.ts";
import { CriBed, cannotRun } from "../integration/cri-bed.ts";

const DOWN_S = Number(process.env["GANTRY_LOG_SECONDS"] ?? 5);
/** Seconds with the daemon, before and after. */
const UP_S = 2;
const LINE = 1000;
const PERL = "/usr/bin/perl";
const skip = cannotRun || (existsSync(PERL) ? false : "needs perl");

/** Writes a hundred lines every 10 ms, and measures each write; a last line tells the longest and how many lines there were. */
const WRITER = `
use Time::HiRes qw(time sleep);
my ($n, $longest, $begin) = (0, 0, time);
for (my $turn = 0; time - $begin < ${DOWN_S + 2 * UP_S}; $turn++) {
  my $text = join "", map { my $x = "x" x (${LINE} - 2 - length $n); $n++ . " $x\\n" } 1 .. 100;
  for (my $at = 0; $at < length $text;) {
    my $before = time;
    my $done = syswrite(STDOUT, $text, length($text) - $at, $at);
    die $! unless defined $done;
    $at += $done;
    my $took = time - $before;
    $longest = $took if $took > $longest;
  }
  my $ahead = $begin + $turn / 100 - time;
  sleep $ahead if $ahead > 0;
}
syswrite STDOUT, sprintf("END %d %d\\n", $n, $longest * 1000);
`;

test(`10 MB a second for ${DOWN_S} s without a daemon: nothing blocks, nothing is lost`, {
  skip,
  timeout: (DOWN_S + 60) * 2000,
}, async () => {
  await using bed = await CriBed.start();
  const config = bed.pod("logs");
  const { podSandboxId } = await bed.runtime.runPodSandbox({ config });
  const mounts = ["/usr", "/lib", "/lib64", "/etc/perl"]
    .filter((path) => existsSync(path))
    .map((path) => ({ hostPath: path, containerPath: path, readonly: true }));
  const container = bed.container("writer", "", { command: [PERL, "-e", WRITER], mounts });
  const containerId = await bed.runContainer(podSandboxId, config, container);
  await delay(UP_S * 1000);
  await bed.killDaemon();
  await delay(DOWN_S * 1000);
  await bed.startDaemon();
  await until(
    "its end",
    async () => {
      const { status } = await bed.runtime.containerStatus({ containerId });
      return status?.state === ContainerState.CONTAINER_EXITED;
    },
    120_000,
  );
  let [next, torn, last] = [0, 0, ""];
  const lines = createInterface({ input: createReadStream(join(bed.dir, "logs/logs/writer.log")) });
  for await (const line of lines) {
    const match = /^\S+ stdout F (.*)$/.exec(line);
    const text = match?.[1] ?? "";
    if (text.startsWith("END ")) last = text;
    else if (text.length === LINE - 1 && text.startsWith(`${next} x`)) next++;
    else torn++;
  }
  const [, wrote, longest] = last.split(" ").map(Number);
  console.log(`${next} lines, ${((next * LINE) / 1e6).toFixed(0)} MB, longest write ${longest} ms`);
  assert.equal(torn, 0, "lines that are torn or out of order");
  assert.equal(next, wrote);
  // a machine that is busy: 100 turns a second are not reached, blocking is another thing
  assert.ok(longest !== undefined && longest < 1000, `a write took ${longest} ms`);
  assert.ok(next > 100 * DOWN_S, `${next} lines`);
});
