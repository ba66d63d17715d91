import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BLOBS } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig } from "../../core/plugin/plugin.ts";

/** The folders of the local content store; what is in them is known to the metadata plugin. */
export default definePlugin({
  kind: BLOBS,
  id: "content",
  requires: {},
  config: noConfig,
  onFailure: "fatal",
  async init(host) {
    await mkdir(join(host.root, "blobs", "sha256"), { recursive: true, mode: 0o700 });
    await mkdir(join(host.root, "ingest"), { recursive: true, mode: 0o700 });
    host.describe({ exports: { root: host.root } });
    return { root: host.root };
  },
});
