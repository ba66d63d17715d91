import { invalidArgument } from "../../core/errors.ts";
import { BLOBS, EVENTS, METADATA, SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { all, definePlugin, one, optional } from "../../core/plugin/plugin.ts";
import { SqliteMetadata } from "./store.ts";

/** The metadata database. containerd's id is "bolt" because its database is; users name it so in config files. */
export default definePlugin({
  kind: METADATA,
  id: "bolt",
  requires: { blobs: one(BLOBS, "content"), backends: all(SNAPSHOTTER), events: optional(EVENTS) },
  config: {
    defaults: { content_sharing_policy: "shared", no_sync: false },
    parse(table) {
      const { content_sharing_policy: policy, no_sync: noSync } = table;
      if (policy !== "shared" && policy !== "isolated" && policy !== "")
        throw invalidArgument(`content_sharing_policy "${String(policy)}": want "shared" or "isolated"`);
      if (typeof noSync !== "boolean")
        throw invalidArgument(`no_sync "${String(noSync)}": want true or false`);
      return { policy: policy === "" ? ("shared" as const) : (policy as "shared" | "isolated"), noSync };
    },
  },
  onFailure: "fatal",
  async init(host, { blobs, backends, events }, config) {
    const store = await SqliteMetadata.open({
      root: host.root,
      blobs,
      backends,
      events,
      log: host.log,
      shared: config.policy === "shared",
      noSync: config.noSync,
    });
    host.describe({ exports: { policy: config.policy } });
    const stop = new AbortController();
    let reconciling: Promise<void> = Promise.resolve();
    host.onReady(async () => {
      // in the background: a store with many blobs must not hold up the start
      reconciling = store.reconcile(stop.signal).catch((err: unknown) => {
        host.log.error("files and records were not compared", { err });
      });
    });
    host.onStop(async () => {
      stop.abort();
      await reconciling;
      await store.close();
    });
    return store;
  },
});
