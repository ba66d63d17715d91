import { failedPrecondition, invalidArgument } from "../../core/errors.ts";
import { BLOBS, type BlobBackend, EVENTS, METADATA, SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { all, definePlugin, optional } from "../../core/plugin/plugin.ts";
import { SqliteMetadata } from "./store.ts";

/** The metadata database. containerd's id is "bolt" because its database is; users name it so in config files. */
export default definePlugin({
  kind: METADATA,
  id: "bolt",
  requires: { contents: all(BLOBS), backends: all(SNAPSHOTTER), events: optional(EVENTS) },
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
  async init(host, { contents, backends, events }, config) {
    const blobs = chosen(contents);
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

/** The local content store; where it is disabled, the one store of another process. */
function chosen(contents: ReadonlyMap<string, BlobBackend>): BlobBackend {
  const local = contents.get("content");
  if (local !== undefined) return local;
  const [first, second] = contents.values();
  if (first === undefined)
    throw failedPrecondition('no content store: "io.containerd.content.v1.content" is disabled');
  if (second !== undefined)
    throw failedPrecondition(`several content stores: ${[...contents.keys()].join(", ")}`, {
      hint: "leave one table of type content in [proxy_plugins], or enable the local store",
    });
  return first;
}
