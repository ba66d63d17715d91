/** The mount manager `io.containerd.mount-manager.v1.bolt`; named as containerd's, whose records are in such a database. */
import { METADATA, MOUNT_MANAGER } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig, one } from "../../core/plugin/plugin.ts";
import { FileMountManager } from "./manager.ts";

/** Changes that come together are looked at once. Milliseconds. */
const SOON_MS = 50;
/** How often what expires by itself is noticed. */
const OFTEN_MS = 30_000;

export default definePlugin({
  kind: MOUNT_MANAGER,
  id: "bolt",
  requires: { metadata: one(METADATA) },
  config: noConfig,
  onFailure: "optional",
  async init(host, { metadata }) {
    const manager = new FileMountManager(host.state, host.log);
    await manager.load(host.call);
    let timer: NodeJS.Timeout | undefined;
    let running = false;
    const collect = async (): Promise<void> => {
      timer = undefined;
      if (running) return later(SOON_MS);
      running = true;
      try {
        await manager.collect(host.call, metadata);
      } catch (err) {
        host.log.warn("collect mounts", { err });
      } finally {
        running = false;
      }
    };
    const later = (ms: number): void => {
      timer ??= setTimeout(() => void collect(), ms).unref();
    };
    // a lease or an object that was removed may have been the last tie; expired ones tell nobody
    metadata.garbage.onMutation((kind) => {
      if (kind === "delete" && manager.size > 0) later(SOON_MS);
    });
    const regular = setInterval(() => {
      if (manager.size > 0) later(SOON_MS);
    }, OFTEN_MS).unref();
    host.onReady(async () => later(SOON_MS));
    host.onStop(async () => {
      clearTimeout(timer);
      clearInterval(regular);
    });
    return manager;
  },
});
