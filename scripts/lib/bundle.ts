/**
 * bundle.ts OPTIONS-AS-JSON: the part of compile.ts that needs Bun's own build function, since only that takes plugins. Generated
 * code, and the library's own types, are replaced by tables that are read when they are first used (tables.ts).
 */
import { join } from "node:path";
import { loadModules, tableModule, WKT } from "./tables.ts";

/** What compile.ts passes. */
export interface BundleOptions {
  readonly root: string;
  readonly out: string;
  /** Bun's name of the target; undefined = this machine. */
  readonly target?: string | undefined;
  readonly define: Readonly<Record<string, string>>;
}

/** How much more often than usual code must run before it is compiled, at the start (platform/process/jit.ts ends that). */
const JIT_POLICY = 16;

interface Builder {
  onLoad(
    filter: { filter: RegExp; namespace?: string },
    load: (args: { path: string }) => { contents: string; loader: "js" },
  ): void;
  onResolve(
    filter: { filter: RegExp },
    resolve: (args: { path: string; importer: string }) => { path: string; namespace: string } | undefined,
  ): void;
}
interface BunBuild {
  build(options: Record<string, unknown>): Promise<{ success: boolean; logs: unknown[] }>;
}

async function bundle(options: BundleOptions): Promise<boolean> {
  const bun = (globalThis as unknown as { Bun: BunBuild }).Bun;
  const modules = await loadModules();
  const runtime = join(options.root, "src/api/tables.ts");
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
      jitPolicy: JIT_POLICY,
      ...(options.target === undefined ? {} : { target: options.target }),
    },
    plugins: [
      {
        name: "tables",
        setup(build: Builder) {
          build.onLoad({ filter: /\/src\/api\/gen\/.*_pb\.ts$/ }, ({ path }) => ({
            contents: tableModule(modules, path, runtime),
            loader: "js",
          }));
          build.onResolve({ filter: /^@bufbuild\/protobuf\/wkt$/ }, () => ({
            path: WKT,
            namespace: "tables",
          }));
          build.onLoad({ filter: /.*/, namespace: "tables" }, () => ({
            contents: tableModule(modules, WKT, runtime),
            loader: "js",
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
