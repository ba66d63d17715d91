/** Image verifiers as programs (containerd's docs/image-verification.md). Every one must agree. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, messageOf, permissionDenied } from "../../core/errors.ts";
import type { Descriptor } from "../../core/oci.ts";
import { VERIFIER } from "../../core/plugin/kinds.ts";
import { definePlugin } from "../../core/plugin/plugin.ts";
import type { ImageVerifier } from "../../core/transfer/transfer.ts";
import { parseDuration } from "../../lib/human.ts";
import { descriptorToJson } from "../../oci/descriptors.ts";
import { run } from "../../platform/process/spawn.ts";

/** Settings of the plugin. */
export interface BindirConfig {
  readonly binDir: string;
  readonly maxVerifiers: number;
  readonly timeoutMs: number;
  /** Also ask for image records that clients of the API write. */
  readonly forClients?: boolean | undefined;
}

/** Most bytes of a verifier's explanation. */
const MAX_OUTPUT = 16 * 1024;

/** Runs the programs of `binDir` in name order. A missing folder has none. */
export function bindirVerifier(config: BindirConfig): ImageVerifier {
  return {
    forClients: config.forClients === true,
    async verify(call: NamespacedCall, name: string, target: Descriptor) {
      const entries = await readdir(config.binDir, { withFileTypes: true }).catch((err: unknown) => {
        if (err instanceof Error && "code" in err && err.code === "ENOENT") return [];
        throw permissionDenied(`image "${name}" refused: read "${config.binDir}": ${messageOf(err)}`);
      });
      const programs = entries.filter((e) => !e.isDirectory()).map((e) => e.name);
      const chosen = programs.sort().slice(0, config.maxVerifiers);
      for (const program of chosen) await ask(config, program, call, name, target);
    },
  };
}

async function ask(
  config: BindirConfig,
  program: string,
  call: NamespacedCall,
  name: string,
  target: Descriptor,
): Promise<void> {
  const path = join(config.binDir, program);
  const mode = (await stat(path).catch(() => undefined))?.mode ?? 0;
  if ((mode & 0o111) === 0)
    throw permissionDenied(`image "${name}" refused: verifier "${program}" is not executable`);
  const args = [
    "-name",
    name,
    "-digest",
    target.digest,
    "-stdin-media-type",
    "application/vnd.oci.descriptor.v1+json",
  ];
  const result = await run(path, args, {
    stdin: JSON.stringify(descriptorToJson(target)),
    timeoutMs: config.timeoutMs,
    signal: call.signal,
    killGroup: true,
    maxOutput: MAX_OUTPUT,
  }).catch((err: unknown) => {
    call.check();
    throw permissionDenied(`image "${name}" refused: verifier "${program}": ${messageOf(err)}`, {
      cause: err,
    });
  });
  if (result.code === 0) return;
  const said = new TextDecoder().decode(result.stdout).trim().slice(0, 1024);
  throw permissionDenied(
    `image "${name}" refused by verifier "${program}" (exit code ${result.code}): ${said}`,
  );
}

export default definePlugin({
  kind: VERIFIER,
  id: "bindir",
  requires: {},
  config: {
    defaults: {
      bin_dir: "/opt/containerd/image-verifier/bin",
      max_verifiers: 10,
      per_verifier_timeout: "10s",
      verify_client_images: false,
    },
    parse(table): BindirConfig {
      const { bin_dir: binDir, max_verifiers: max, per_verifier_timeout: timeout } = table;
      const forClients = table["verify_client_images"];
      if (typeof forClients !== "boolean") throw invalidArgument("verify_client_images: want true or false");
      if (typeof binDir !== "string") throw invalidArgument("bin_dir: want a string");
      const count = Number(max);
      if (!Number.isSafeInteger(count)) throw invalidArgument("max_verifiers: want a whole number");
      if (typeof timeout !== "string") throw invalidArgument("per_verifier_timeout: want a duration");
      return {
        binDir,
        maxVerifiers: count < 0 ? Number.MAX_SAFE_INTEGER : count,
        timeoutMs: Number(parseDuration(timeout) / 1_000_000n),
        forClients,
      };
    },
  },
  onFailure: "fatal",
  init(host, _deps, config) {
    // Clients that pull by themselves ask the same programs: see cmd/ctr/verifiers.ts.
    host.describe({
      exports: {
        bin_dir: config.binDir,
        max_verifiers: String(config.maxVerifiers),
        per_verifier_timeout: `${config.timeoutMs}ms`,
      },
    });
    return bindirVerifier(config);
  },
});
