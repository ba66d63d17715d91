/** `io.containerd.internal.v1.image-directory`: archives in a folder are images (not in containerd; K3s has the like). */
import { join } from "node:path";
import { invalidArgument } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { METADATA, TRANSFER } from "../../core/plugin/kinds.ts";
import { defineKind, definePlugin, one } from "../../core/plugin/plugin.ts";
import { ImageDirectory } from "./directory.ts";

const QUIET_MS = 1000;
const RESCAN_MS = 60_000;

/** Runs by itself; nobody calls it. */
const INTERNAL = defineKind<object>("io.containerd.internal.v1");

export default definePlugin({
  kind: INTERNAL,
  id: "image-directory",
  requires: { metadata: one(METADATA), transfer: one(TRANSFER, "local") },
  config: {
    defaults: { path: "", namespace: "k8s.io", snapshotter: "" },
    parse(table) {
      const text = (key: string): string => {
        const value = table[key];
        if (typeof value !== "string") throw invalidArgument(`${key}: want a string`);
        return value;
      };
      const path = text("path");
      if (path !== "" && !path.startsWith("/"))
        throw invalidArgument(`path "${path}": want an absolute path`);
      return { path, namespace: parseNamespace(text("namespace")), snapshotter: text("snapshotter") };
    },
  },
  onFailure: "optional",
  init(host, { metadata, transfer }, config) {
    const path = config.path === "" ? join(host.daemon.root, "images") : config.path;
    const directory = new ImageDirectory({
      path,
      stateFile: join(host.root, "imported.json"),
      snapshotter: config.snapshotter || criSnapshotter(host.daemon.settings) || "overlayfs",
      transfer,
      images: metadata.images,
      log: host.log,
      quietMs: QUIET_MS,
      rescanMs: RESCAN_MS,
    });
    const stop = new AbortController();
    let running: Promise<void> = Promise.resolve();
    // The daemon answers while archives are read.
    host.onServe(async () => {
      running = directory.run(host.call.until(stop.signal).in(config.namespace));
    });
    host.onStop(async () => {
      stop.abort();
      await running;
    });
    host.describe({ exports: { path, namespace: config.namespace } });
    return {};
  },
});

/** The snapshotter Kubernetes' images are unpacked with. */
function criSnapshotter(settings: Readonly<Record<string, unknown>>): string | undefined {
  const table = (value: unknown): Readonly<Record<string, unknown>> =>
    typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  const name = table(table(settings["plugins"])["io.containerd.cri.v1.images"])["snapshotter"];
  return typeof name === "string" ? name : undefined;
}
