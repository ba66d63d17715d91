/**
 * The import table of docs/architecture.md as rules. Type imports count too. Each folder lists what it MAY import;
 * everything else of ours, and every npm package not named, is an error.
 */
const NPM = "node_modules";

/** Builds one rule: files under `from` may import only the folders in `may` and the npm packages in `npm`. */
function only(name, from, may, npm, comment) {
  const allowed = [...may.map((f) => `^${f}`), ...npm.map((p) => `${NPM}/${p}/`)];
  return {
    name,
    comment,
    severity: "error",
    from: { path: from, pathNot: "\\.test\\.ts$" },
    to: { pathNot: allowed.join("|") || "^$", dependencyTypesNot: ["core"] },
  };
}

const PB = "@bufbuild/protobuf";

module.exports = {
  forbidden: [
    {
      name: "no-cycles",
      severity: "error",
      comment: "no import cycles, type imports included",
      from: {},
      to: { circular: true },
    },
    {
      name: "unresolved",
      severity: "error",
      comment: "every import resolves",
      from: {},
      to: { couldNotResolve: true, dependencyTypesNot: ["core"], pathNot: "^(bun|node):" },
    },
    {
      name: "core-no-io",
      comment: "core is contracts and pure rules: no node: modules that do I/O",
      severity: "error",
      from: { path: "^src/core", pathNot: "\\.test\\.ts$" },
      to: { dependencyTypes: ["core"], pathNot: "^(node:)?(crypto|path)$" },
    },
    only("lib", "^src/lib", ["src/lib"], [], "lib is leaf helpers"),
    only(
      "platform",
      "^src/platform",
      ["src/lib", "src/platform"],
      [],
      "platform knows only Linux and the runtime",
    ),
    only("core", "^src/core", ["src/lib", "src/core"], [], "core knows contracts only"),
    only(
      "oci",
      "^src/oci",
      ["src/core", "src/lib", "src/oci"],
      ["zod", "yaml"],
      "oci is formats and schemas",
    ),
    only("api", "^src/api", ["src/api"], [PB], "generated code only"),
    only(
      "rpc",
      "^src/rpc",
      ["src/rpc", "src/api", "src/core", "src/lib", "src/platform/net"],
      [PB],
      "transports know no service",
    ),
    only(
      "registry",
      "^src/registry",
      ["src/registry", "src/core", "src/oci", "src/lib"],
      ["undici", "smol-toml"],
      "registry speaks HTTP only",
    ),
    only(
      "client",
      "^src/client",
      ["src/client", "src/core", "src/rpc", "src/api", "src/lib"],
      [PB],
      "core interfaces over RPC",
    ),
    only(
      "plugins",
      "^src/plugins",
      [
        "src/plugins",
        "src/core",
        "src/oci",
        "src/registry",
        "src/platform",
        "src/lib",
        "src/rpc",
        "src/client",
        "src/api",
        "shims/shared",
      ],
      ["zod", "hono", "@hono", "pino", "tar-stream", PB],
      "implementations",
    ),
    only(
      "cri",
      "^src/cri",
      ["src/cri", "src/core", "src/oci", "src/platform", "src/lib", "src/api"],
      ["hono", "@hono", "zod", PB],
      "pod domain",
    ),
    only(
      "services",
      "^src/services",
      ["src/services", "src/core", "src/rpc", "src/api", "src/lib", "src/cri"],
      [PB],
      "wire faces",
    ),
    only(
      "shims",
      "^shims",
      ["shims", "src/core", "src/oci", "src/api", "src/rpc", "src/platform", "src/lib"],
      [PB],
      "the shim stays small",
    ),
    {
      name: "shims-small",
      comment:
        "the shim loads no gRPC transport and no schema library; of core only call, errors, ids, tasks",
      severity: "error",
      from: { path: "^shims", pathNot: "\\.test\\.ts$" },
      to: {
        path: "^src/rpc/(grpc|http2)|node_modules/zod|^src/core/(?!call|errors|ids|tasks|log|any|time|oci)",
      },
    },
    {
      name: "plugins-ask-for-tokens",
      comment: "a plugin never imports another plugin's folder: it asks for a token",
      severity: "error",
      from: { path: "^src/plugins/([^/]+)/", pathNot: "\\.test\\.ts$" },
      to: { path: "^src/plugins/", pathNot: "^src/plugins/$1/" },
    },
    {
      name: "nobody-imports-cmd",
      severity: "error",
      comment: "cmd is composition roots",
      from: { pathNot: "^src/(cmd|main)" },
      to: { path: "^src/cmd" },
    },
    {
      name: "undici-real",
      comment: "Bun replaces the bare name with a shim that ignores TLS options",
      severity: "error",
      from: {},
      to: { path: "^undici$" },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: NPM },
    includeOnly: "^(src|shims|node_modules|node:|bun:)",
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "bun", "node", "default"],
    },
  },
};
