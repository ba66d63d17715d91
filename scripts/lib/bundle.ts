/**
 * bundle.ts OPTIONS-AS-JSON: the part of compile.ts that needs Bun's own build function, since only that takes plugins. It
 * replaces the protobuf library's reader of embedded descriptors by our own (descriptors.ts).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What compile.ts passes. */
export interface BundleOptions {
  readonly root: string;
  readonly out: string;
  /** Bun's name of the target; undefined = this machine. */
  readonly target?: string | undefined;
  readonly define: Readonly<Record<string, string>>;
}

interface Builder {
  onLoad(filter: { filter: RegExp }, load: () => { contents: string; loader: "ts" }): void;
}
interface BunBuild {
  build(options: Record<string, unknown>): Promise<{ success: boolean; logs: unknown[] }>;
}

/** Text of the library's codegenv2/file.js with our reader. */
export function fileDescModule(): string {
  return `
import { base64Decode } from "../wire/base64-encoding.js";
import { createEmbeddedFileRegistry } from "../registry.js";
import { restoreJsonNames } from "./restore-json-names.js";
${readFileSync(join(import.meta.dirname, "descriptors.ts"), "utf8")}
export function fileDesc(b64, imports) {
  const root = readFileDescriptor(base64Decode(b64));
  root.messageType.forEach(restoreJsonNames);
  root.dependency = imports === undefined ? [] : imports.map((f) => f.proto.name);
  return createEmbeddedFileRegistry(root, (name) => imports?.find((f) => f.proto.name === name)).getFile(root.name);
}
`;
}

async function bundle(options: BundleOptions): Promise<boolean> {
  const bun = (globalThis as unknown as { Bun: BunBuild }).Bun;
  const { success, logs } = await bun.build({
    entrypoints: [join(options.root, "src/main.ts")],
    minify: { whitespace: true, syntax: true, identifiers: true, keepNames: true },
    splitting: true,
    bytecode: true,
    format: "esm",
    define: options.define,
    compile: {
      outfile: options.out,
      autoloadDotenv: false,
      autoloadBunfig: false,
      ...(options.target === undefined ? {} : { target: options.target }),
    },
    plugins: [
      {
        name: "descriptors",
        setup(build: Builder) {
          build.onLoad({ filter: /@bufbuild\/protobuf\/dist\/esm\/codegenv2\/file\.js$/ }, () => ({
            contents: fileDescModule(),
            loader: "ts",
          }));
        },
      },
    ],
  });
  for (const log of logs) console.error(String(log));
  return success;
}

if (import.meta.main) {
  const done = await bundle(JSON.parse(process.argv[2] ?? "{}") as BundleOptions).catch((err: unknown) => {
    console.error(err);
    return false;
  });
  process.exit(done ? 0 : 1);
}
