/** The daemon's image verifiers, asked by a command that pulls or imports by itself: no path goes round them. */
import { introspectionClient } from "../../client/introspection.ts";
import { messageOf, permissionDenied } from "../../core/errors.ts";
import { lazyAsync } from "../../lib/lazy.ts";
import type { ImageGate } from "../../plugins/transfer/context.ts";
import type { Transport } from "../../rpc/types.ts";
import { durationMs } from "./context.ts";

/** containerd's folder, for a daemon that does not tell. */
const DEFAULT_DIR = "/opt/containerd/image-verifier/bin";

/** Asks every verifier plugin of the daemon. @throws permission-denied when one refuses, failed to load or is unknown */
export function verifierGate(transport: Transport): ImageGate {
  let found: (() => Promise<readonly ImageGate[]>) | undefined;
  return {
    async check(call, name, target) {
      found ??= lazyAsync(async () => {
        const filter = ["type==io.containerd.image-verifier.v1"];
        const plugins = await introspectionClient(transport).plugins(call, filter);
        const out: ImageGate[] = [];
        for (const plugin of plugins) {
          if (plugin.state === "skip") continue;
          if (plugin.state === "error" || plugin.id !== "bindir")
            throw permissionDenied(
              `image verifier "${plugin.id}" cannot be asked by a client: ${messageOf(plugin.error ?? "")}`,
              { hint: "pull without --local: the daemon asks it" },
            );
          const { bindirVerifier } = await import("../../plugins/verifier/bindir.ts");
          const { exports } = plugin;
          const max = Number(exports.get("max_verifiers") ?? "10");
          const verifier = bindirVerifier({
            binDir: exports.get("bin_dir") ?? DEFAULT_DIR,
            maxVerifiers: max,
            timeoutMs: durationMs(exports.get("per_verifier_timeout") ?? "10s"),
          });
          out.push({ check: verifier.verify });
        }
        return out;
      });
      for (const gate of await found()) await gate.check(call, name, target);
    },
  };
}
