/**
 * build.ts [--target amd64|arm64] [--out FILE] [--version VERSION]: compiles the executable to dist/gantry and links the
 * names it is called by in dist/bin. Another architecture than this machine's goes to dist/gantry-ARCH, without links.
 */
import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { compile, hostArch, linkNames, ROOT } from "./lib/compile.ts";

const { values } = parseArgs({
  options: { target: { type: "string" }, out: { type: "string" }, version: { type: "string" } },
});
const arch = values.target ?? hostArch();
const native = arch === hostArch();
const out = values.out ?? join(ROOT, "dist", native ? "gantry" : `gantry-${arch}`);
const start = Date.now();
try {
  compile(arch, out, values.version);
} catch (err) {
  console.error(`build: ${err instanceof Error ? err.message : String(err)}`);
  process.exit(1);
}
if (native) linkNames(join(dirname(out), "bin"), "../gantry");
const size = (statSync(out).size / 1e6).toFixed(1);
console.log(`${out}: ${size} MB, ${arch}, ${((Date.now() - start) / 1000).toFixed(1)} s`);
