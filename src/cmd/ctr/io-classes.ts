/** --blockio-class and --rdt-class. */
import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import type { BlockDevice } from "../../oci/spec/blockio.ts";
import { linuxOf, resourcesOf } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { textOf } from "./context.ts";

type Options = Readonly<Record<string, unknown>>;

/** Writes the classes into a spec. @throws invalid-argument, not-found */
export async function applyClasses(spec: Spec, options: Options): Promise<void> {
  const rdt = textOf(options, "rdtClass");
  // the name is that of a folder of the kernel's resctrl file system; the OCI runtime puts the processes there
  if (rdt !== "") linuxOf(spec).intelRdt = { closID: rdt };
  const name = textOf(options, "blockioClass");
  const file = textOf(options, "blockioConfigFile");
  if (name === "") return;
  if (file === "")
    throw invalidArgument(`flag --blockio-class "${name}": no class definitions`, {
      hint: "add --blockio-config-file PATH",
    });
  const { blockIoOf } = await import("../../oci/spec/blockio.ts");
  const text = readText(file);
  resourcesOf(spec).blockIO = blockIoOf(text, name, find);
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (err) {
    throw invalidArgument(`flag --blockio-config-file "${file}": ${messageOf(err)}`, { cause: err });
  }
}

/** Block devices that a pattern fits; patterns are in the last part of the path only, as in every configuration known. */
function find(pattern: string): BlockDevice[] {
  const folder = dirname(pattern);
  const test = new RegExp(
    `^${basename(pattern)
      .replace(/[.+^${}()|\\]/g, "\\$&")
      .replaceAll("*", ".*")
      .replaceAll("?", ".")}$`,
  );
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => test.test(name));
  } catch {
    return [];
  }
  return names.sort().flatMap((name) => {
    const stat = statSync(realpathSync(join(folder, name)), { throwIfNoEntry: false });
    if (stat?.isBlockDevice() !== true) return [];
    // Linux dev_t: 12 + 20 bits, split as glibc's gnu_dev_major does
    const rdev = BigInt(stat.rdev);
    return [
      {
        major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)),
        minor: Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffffffffn)),
      },
    ];
  });
}
