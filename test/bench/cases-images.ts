/** Images: P4 unpack, P5 pull, P6 import; P15 what an installation takes on disk. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { imageName } from "../fixtures/images.ts";
import { type Bench, clean, type Engine } from "./engine.ts";
import { interleave, type Row, timed } from "./measure.ts";

const seconds = (samples: readonly number[]): number[] => samples.map((ms) => ms / 1000);

/** Both engines, each round on a store without the image. */
async function both(bench: Bench, before: (engine: Engine) => void, work: (engine: Engine) => void) {
  const once = (engine: Engine) => async () => {
    clean(engine);
    before(engine);
    return await timed(() => work(engine));
  };
  const found = await interleave(bench.few, { ours: once(bench.ours), reference: once(bench.reference) });
  clean(bench.ours);
  clean(bench.reference);
  return { ours: seconds(found.ours), reference: seconds(found.reference) };
}

/** P4: unpack of Debian's root (one gzip layer, about 61 MB, 6.7k entries), content there already. */
export async function unpack(bench: Bench): Promise<Row[]> {
  const digest = bench.images.digest("debian");
  const found = await both(
    bench,
    (engine) => engine.ctr("images", "import", "--no-unpack", bench.images.archive("debian")),
    (engine) => engine.ctr("snapshots", "unpack", digest),
  );
  return [{ id: "P4", what: "unpack of a 61 MB gzip layer, 6.7k entries", unit: "s", ...found, goal: 0.4 }];
}

/** P5: pull and unpack from a registry on loopback. */
export async function pull(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  const cases: [string, string][] = [
    ["debian", "1 layer, 61 MB"],
    ["layers10", "10 small layers"],
    ["big", "1 layer, 300 MB, one file"],
  ];
  for (const [name, what] of cases) {
    if (!bench.images.names.includes(name)) continue;
    const ref = bench.registry.ref(name);
    const work = (engine: Engine): void => {
      engine.ctr("images", "pull", "--plain-http", ref);
    };
    const found = await both(bench, () => {}, work);
    rows.push({ id: "P5", what: `pull and unpack, ${what}, same client`, unit: "s", ...found, goal: 0.5 });
    const own = await both(
      bench,
      () => {},
      (engine) => engine.own("images", "pull", "--plain-http", ref),
    );
    rows.push({ id: "P5", what: `pull and unpack, ${what}, own client`, unit: "s", ...own, goal: 0.5 });
  }
  return rows;
}

/** P6: import and unpack of an archive. */
export async function importing(bench: Bench): Promise<Row[]> {
  const archive = bench.images.archive("debian");
  const same = await both(
    bench,
    () => {},
    (engine) => engine.ctr("images", "import", archive),
  );
  const own = await both(
    bench,
    () => {},
    (engine) => engine.own("images", "import", archive),
  );
  const what = `import and unpack of ${imageName("debian").split(":")[0]}`;
  return [
    { id: "P6", what: `${what}, same client`, unit: "s", ...same, goal: 0.5 },
    { id: "P6", what: `${what}, own client`, unit: "s", ...own, goal: 0.5 },
  ];
}

/** containerd's client for CRI is a package of its own, not in Debian: its usual size. */
const CRICTL_MB = 28;

/** P15: the programs of an installation. */
export async function size(bench: Bench): Promise<Row[]> {
  const mb = (path: string): number => statSync(path).size / 1e6;
  const programs = ["containerd", "ctr", "containerd-shim-runc-v2"];
  const total = (engine: Engine): number => {
    if (engine.name === "gantry") return mb(join(engine.bin, "../gantry"));
    return programs.reduce((sum, name) => sum + mb(join(engine.bin, name)), CRICTL_MB);
  };
  const rows: Row[] = [
    {
      id: "P15",
      what: "programs on disk (theirs: with 28 MB for crictl)",
      unit: "MB",
      ours: [total(bench.ours)],
      reference: [total(bench.reference)],
      goal: 1.1,
    },
  ];
  const dist = join(bench.ours.bin, "..");
  const tarball = existsSync(dist) ? readdirSync(dist).find((name) => name.endsWith(".tar.gz")) : undefined;
  if (tarball !== undefined) {
    const note = "no tarball of theirs in Debian";
    rows.push({
      id: "P15",
      what: "release tarball",
      unit: "MB",
      ours: [mb(join(dist, tarball))],
      reference: [],
      note,
    });
  }
  return rows;
}
