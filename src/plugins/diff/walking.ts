/** The differ `io.containerd.differ.v1.walking`: unpacks layers and makes them from what changed between two trees. */
import { DIFFER, METADATA } from "../../core/plugin/kinds.ts";
import { definePlugin, one } from "../../core/plugin/plugin.ts";
import { HelperApplier } from "./apply.ts";
import { HelperComparer } from "./compare.ts";
import { layerLimits } from "./limits.ts";
import { parseStreamProcessors } from "./stream-processors.ts";

export default definePlugin({
  kind: DIFFER,
  id: "walking",
  requires: { metadata: one(METADATA) },
  config: { defaults: {}, parse: layerLimits },
  onFailure: "optional",
  init(host, { metadata }, limits) {
    host.describe({
      platforms: [{ os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }],
    });
    const applier = new HelperApplier(
      metadata.content,
      limits,
      parseStreamProcessors(host.daemon.settings["stream_processors"]),
    );
    // clients that pull by themselves write a layer first and have it applied then
    metadata.content.onLayer?.(() => applier.expect());
    const comparer = new HelperComparer(metadata.content);
    return {
      apply: applier.apply.bind(applier),
      start: applier.start.bind(applier),
      expect: applier.expect.bind(applier),
      compare: comparer.compare.bind(comparer),
    };
  },
});
