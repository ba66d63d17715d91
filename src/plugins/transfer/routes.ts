/** `unpack_config`: which differ puts an image's layers into the snapshots of a snapshotter. */
import type { Applier } from "../../core/diff/diff.ts";
import { failedPrecondition, invalidArgument } from "../../core/errors.ts";
import { formatPlatform, hostPlatform, matchOnly } from "../../oci/platform.ts";
import type { TransferConfig, UnpackConfig } from "./config.ts";
import type { TransferStores } from "./context.ts";

/** What the configuration chooses from. */
export interface RouteParts {
  /** Our own differ: it can unpack what is still arriving. */
  readonly walking: Applier;
  readonly differs: ReadonlyMap<string, Applier>;
  /** All of them in the diff service's order. */
  readonly diffs: Applier;
  readonly order: readonly string[];
  /** Snapshotters that are loaded. */
  readonly backends: ReadonlyMap<string, unknown>;
}

/** Differs in the order of the diff service's table. */
export function diffOrder(settings: Readonly<Record<string, unknown>>): readonly string[] {
  const table = (value: unknown): Readonly<Record<string, unknown>> =>
    typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  const names = table(table(settings["plugins"])["io.containerd.service.v1.diff-service"])["default"];
  return Array.isArray(names) ? names.map(String) : ["walking"];
}

/**
 * The ways of an unpack.
 * @throws invalid-argument at once when an entry names what is not loaded and is not optional
 */
export function unpackRoutes(
  config: TransferConfig,
  parts: RouteParts,
): NonNullable<TransferStores["route"]> {
  const entries = config.unpack.filter((entry, i) => {
    const lacks = missing(entry, parts);
    if (lacks === undefined) return true;
    if (entry.optional) return false;
    throw invalidArgument(`unpack_config.${i}: ${lacks}`, { hint: "mark the entry optional, or load it" });
  });
  const standard: UnpackConfig = {
    platform: hostPlatform(),
    snapshotter: config.snapshotter,
    differ: "",
    configType: "",
    layerTypes: [],
    optional: false,
  };
  const known = entries.length === 0 ? [standard] : entries;
  return (snapshotter, platform, layerTypes) => {
    const entry = known.find(
      (e) =>
        e.snapshotter === snapshotter &&
        matchOnly(e.platform).match(platform) &&
        (e.layerTypes.length === 0 || layerTypes.every((type) => e.layerTypes.includes(type))),
    );
    if (entry === undefined && config.checkPlatformSupported)
      throw failedPrecondition(
        `unpack platform ${formatPlatform(platform)} with snapshotter "${snapshotter}": not supported`,
        { hint: "add an unpack_config entry for it, or set check_platform_supported = false" },
      );
    const differ = entry?.differ ?? "";
    if (differ === "") return { applier: parts.diffs, streamed: parts.order[0] === "walking" };
    if (differ === "walking") return { applier: parts.walking, streamed: true };
    return { applier: parts.differs.get(differ) ?? parts.diffs, streamed: false };
  };
}

function missing(entry: UnpackConfig, parts: RouteParts): string | undefined {
  if (!parts.backends.has(entry.snapshotter)) return `snapshotter "${entry.snapshotter}" is not loaded`;
  if (entry.differ !== "" && !parts.differs.has(entry.differ))
    return `differ "${entry.differ}" is not loaded`;
  return undefined;
}
