/** Runs scenarios: one daemon, one client, the leak census after every test. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type ImageSet, imageName, testImages } from "../fixtures/images.ts";
import { type Registry, startRegistry } from "../fixtures/registry.ts";
import { type Census, settled, steadyCensus } from "./census.ts";
import type { Client } from "./client.ts";
import { type ClientKind, Engine, type EngineKind } from "./engine.ts";

/** What a scenario works with. */
export interface Bed {
  readonly engine: Engine;
  readonly ctr: Client;
  readonly client: ClientKind;
  readonly images: ImageSet;
  readonly registry: Registry;
  /** An imported image with a shell. */
  readonly image: string;
  /** A folder for the scenario's files. */
  readonly dir: string;
}

/** A test that leaves everything as it found it. */
export interface Scenario {
  readonly name: string;
  /** Reason not to run with this client, else undefined. */
  readonly skip?: (client: ClientKind, engine: EngineKind) => string | undefined;
  readonly run: (bed: Bed) => Promise<void>;
}

/** Declares the tests of one daemon driven by one or more clients. */
export function suite(
  engineKind: EngineKind,
  clients: readonly ClientKind[],
  scenarios: readonly Scenario[],
): void {
  for (const client of clients) {
    describe(`daemon ${engineKind}, ctr ${client}`, () => {
      const bed = useBed(engineKind, client);
      for (const scenario of scenarios) {
        if (scenario.skip?.(client, engineKind) !== undefined) continue;
        test(scenario.name, () => bed.check(scenario.run));
      }
    });
  }
}

/** A bed made before the tests of the enclosing describe, and given back after them. */
export interface BedHolder {
  /** Runs a test and fails it on what it left. `ignore` names kinds of the census that may differ. */
  check(run: (bed: Bed) => Promise<void>, ignore?: readonly string[]): Promise<void>;
}

/** Hooks that start and stop daemon and registry. */
export function useBed(engineKind: EngineKind, client: ClientKind): BedHolder {
  let bed: Bed | undefined;
  before(async () => {
    bed = await makeBed(engineKind, client);
  });
  after(async () => {
    if (bed === undefined) return;
    const stopped = await bed.engine.end("SIGTERM");
    await giveBack(bed);
    assert.ok(stopped, "the daemon did not end within 20 s after TERM");
  });
  return {
    async check(run, ignore) {
      if (bed === undefined) throw new Error("the bed was not made");
      const counted = await steadyCensus(bed.engine);
      await run(bed);
      await leftNothing(bed.engine, counted, ignore);
    },
  };
}

/** Starts daemon and registry and takes the first-use costs (files opened once, helpers) out of the census. */
export async function makeBed(engineKind: EngineKind, client: ClientKind): Promise<Bed> {
  const images = testImages();
  const engine = new Engine(engineKind);
  let registry: Registry | undefined;
  try {
    registry = await startRegistry({ filled: images });
    await engine.start();
    const ctr = engine.client(client);
    const image = imageName("busybox");
    await ctr.ok("images", "import", images.archive("busybox"));
    const warm = engine.client("1.6");
    await warm.ok("run", "--rm", image, engine.id("warm"), "true");
    const dir = mkdtempSync(join(tmpdir(), "gantry-bed-"));
    return { engine, ctr, client, images, registry, image, dir };
  } catch (err) {
    await registry?.stop();
    await engine.stop();
    throw err;
  }
}

/** Ends what makeBed started. */
export async function giveBack(bed: Bed): Promise<void> {
  await bed.engine.stop();
  await bed.registry.stop();
  rmSync(bed.dir, { recursive: true, force: true });
}

/** Fails on a difference. */
export async function leftNothing(
  engine: Engine,
  before_: Census,
  ignore?: readonly string[],
): Promise<void> {
  const found = await settled(engine, before_, ignore);
  assert.equal(found, "", `the census shows what the test left:\n${found}`);
}
