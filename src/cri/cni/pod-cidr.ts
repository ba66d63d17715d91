/** UpdateRuntimeConfig: the node got its pod CIDR, the network configuration is written from the template. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { wrap } from "../../core/errors.ts";
import { writeFileAtomic } from "../../platform/fs/atomic-write.ts";
import type { Cri } from "../cri.ts";
import { parseNetwork } from "./conflist.ts";
import { renderTemplate } from "./template.ts";

/** Name that containerd gives the file. */
const FILE = "10-containerd-net.conflist";

/** Writes the configuration when there is a template and no network yet. */
export async function applyPodCidr(cri: Cri, cidrs: string): Promise<void> {
  const { config, log } = cri.deps;
  const { confTemplate, confDir } = config.cni;
  if (cidrs === "" || confTemplate === "") return;
  const folder = cri.network.folders.get("");
  await folder?.reload();
  if (folder?.current.problem === undefined) {
    log.info("a network is configured: the template is not used", { template: confTemplate });
    return;
  }
  const ranges = cidrs.split(",").map((c) => c.trim());
  try {
    const text = renderTemplate(await readFile(confTemplate, "utf8"), {
      PodCIDR: ranges[0] ?? "",
      PodCIDRRanges: ranges,
      Routes: routesOf(ranges),
    });
    parseNetwork(text, confTemplate);
    await mkdir(confDir, { recursive: true, mode: 0o755 });
    await writeFileAtomic(join(confDir, FILE), text, { mode: 0o644 });
  } catch (err) {
    throw wrap(err, `generate network configuration from "${confTemplate}"`);
  }
  await folder?.reload();
}

/** A default route for each family. */
function routesOf(ranges: readonly string[]): string[] {
  const four = ranges.some((r) => !r.includes(":"));
  const six = ranges.some((r) => r.includes(":"));
  return [...(four ? ["0.0.0.0/0"] : []), ...(six ? ["::/0"] : [])];
}
