/** The benchmarks: ours and Debian's containerd side by side in one run. See README.md beside this file. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import type { PeerVersion } from "../peers/peer.ts";
import { pods } from "./cases-cri.ts";
import { importing, pull, size, unpack } from "./cases-images.ts";
import { rpc } from "./cases-rpc.ts";
import { client, daemonMemory, exec, run, shims, start } from "./cases-run.ts";
import { collection, lists, output } from "./cases-store.ts";
import { type Bench, startEngine } from "./engine.ts";
import { median, type Row, table } from "./measure.ts";

/** In the order they run: P9 first and last, since it is about what the others leave behind. */
const CASES: readonly (readonly [string, (bench: Bench) => Promise<Row[]>])[] = [
  ["P9", (bench) => daemonMemory(bench, "fresh")],
  ["P15", size],
  ["P3", client],
  ["P12", start],
  ["P1", run],
  ["P2", exec],
  ["P8", shims],
  ["P10", rpc],
  ["P4", unpack],
  ["P5", pull],
  ["P6", importing],
  ["P11", lists],
  ["P13", output],
  ["P14", collection],
  ["P7", pods],
  ["P9", (bench) => daemonMemory(bench, "after all cases")],
];

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "15" },
    reference: { type: "string", default: "1.6" },
    ours: { type: "string", default: "gantry" },
    json: { type: "string" },
    "no-big": { type: "boolean", default: false },
    full: { type: "boolean", default: false },
  },
});
const only = values.only?.toUpperCase().split(",");
const wanted = CASES.filter(([id]) => only === undefined || only.includes(id));
const rounds = Number(values.rounds);
const needsBig = !values["no-big"] && wanted.some(([id]) => id === "P5");

const images = testImages({ bench: needsBig });
await using registry = await startRegistry({ filled: images });
const reference = await startEngine(values.reference as PeerVersion, values.reference as PeerVersion);
const rows: Row[] = [];
let failed = 0;
try {
  const ours = await startEngine(values.ours as "gantry" | PeerVersion, values.reference as PeerVersion);
  try {
    const few = Math.max(3, Math.floor(rounds / 5));
    const bench: Bench = { ours, reference, images, registry, rounds, few, full: values.full };
    for (const [id, work] of wanted) {
      process.stderr.write(`${id} ...\n`);
      try {
        rows.push(...(await work(bench)));
      } catch (err) {
        failed += 1;
        process.stderr.write(`${id}: ${err instanceof Error ? err.message : String(err)}\n`);
      }
    }
  } finally {
    await ours.daemon.stop();
  }
} finally {
  await reference.daemon.stop();
}
console.log(table(rows));
if (values.json !== undefined) {
  const figures = rows.map((row) => ({ ...row, ratio: median(row.ours) / median(row.reference) }));
  writeFileSync(values.json, `${JSON.stringify(figures, null, 1)}\n`);
}
process.exitCode = failed > 0 ? 1 : 0;
