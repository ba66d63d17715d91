import { LEASE, METADATA } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig, one } from "../../core/plugin/plugin.ts";

/** Leases live in the metadata database; `sync` deletes go through its collector. */
export default definePlugin({
  kind: LEASE,
  id: "manager",
  requires: { metadata: one(METADATA) },
  config: noConfig,
  onFailure: "fatal",
  init: (_host, { metadata }) => metadata.leases,
});
