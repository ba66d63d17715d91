import { EVENTS } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig } from "../../core/plugin/plugin.ts";
import { Exchange } from "./exchange.ts";

/** The event exchange of the daemon. */
export default definePlugin({
  kind: EVENTS,
  id: "exchange",
  requires: {},
  config: noConfig,
  onFailure: "fatal",
  init: (host) => new Exchange(host.log),
});
