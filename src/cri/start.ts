/** Brings the pod domain to life with the daemon: recovery before it is ready, watching after. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { PluginHost } from "../core/plugin/plugin.ts";
import { spreadFolders } from "../platform/fs/spread.ts";
import type { Cri } from "./cri.ts";
import { recover } from "./recovery/recover.ts";

/** Hooks `cri` into the daemon's life. */
export function startCri(cri: Cri, host: Pick<PluginHost, "onReady" | "onServe" | "onStop">): void {
  const { root, state } = cri.deps;
  for (const dir of [root, join(root, "sandboxes"), join(root, "containers")])
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  for (const dir of [state, join(state, "sandboxes"), join(state, "containers")])
    mkdirSync(dir, { recursive: true, mode: 0o711 });
  for (const dir of [root, state])
    for (const kind of ["sandboxes", "containers"]) spreadFolders(join(dir, kind));
  cri.monitor.start();
  host.onReady(async () => {
    await cri.network.open();
  });
  // tasks of an earlier life are known by now, and no socket is open yet
  host.onServe(async () => {
    await recover(cri);
    // not on nodes without a network for pods
    if (cri.network.status(cri.handlers.get("")) === undefined) cri.namespaces.fill();
    await cri.nri.start().catch((err: unknown) => cri.deps.log.error("start NRI", { err }));
    for (const handler of cri.deps.config.handlers.values()) void cri.handlers.facts(handler);
  });
  host.onStop(async () => {
    cri.network.close();
    await cri.namespaces.close();
  });
}
