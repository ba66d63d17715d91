/** Configuration of `io.containerd.transfer.v1.local`. */
import { invalidArgument } from "../../core/errors.ts";
import type { Platform } from "../../core/oci.ts";
import { hostPlatform, parsePlatform } from "../../oci/platform.ts";
import { splitConfigPath } from "../../registry/hosts.ts";
import { defaultLimits, type TransferLimits } from "./context.ts";

const DEFAULT_SNAPSHOTTER = "overlayfs";

/** Parsed configuration. */
export interface TransferConfig {
  readonly limits: TransferLimits;
  /** Folders of hosts.toml folders. */
  readonly configPaths: readonly string[];
  /** Unpack only what an entry of `unpack` is for. */
  readonly checkPlatformSupported: boolean;
  /** Snapshotter of unpacks that name none. */
  readonly snapshotter: string;
  readonly unpack: readonly UnpackConfig[];
  /** Layer blobs go once they are unpacked: the retention policy of every client. */
  readonly discardUnpackedLayers: boolean;
}

/** An entry of `unpack_config`: how images of a platform are unpacked with a snapshotter. */
export interface UnpackConfig {
  readonly platform: Platform;
  readonly snapshotter: string;
  /** Differ by plugin id; "" = those of the diff service, in its order. */
  readonly differ: string;
  /** Media type of configs the entry is for; "" = any. */
  readonly configType: string;
  /** Media types of layers it is for; empty = any. */
  readonly layerTypes: readonly string[];
  /** Left out when its snapshotter or differ is not loaded, rather than an error. */
  readonly optional: boolean;
}

/** Where hosts.toml folders are looked for when nothing is configured: containerd's and Docker's places. */
const DEFAULT_PATHS = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];

/** Keys of containerd's plugin. Downloads and unpacks default higher than containerd's 3 and 1: parallel is the point. */
export const transferDefaults = {
  max_concurrent_downloads: defaultLimits.downloads,
  concurrent_layer_fetch_buffer: 0,
  max_concurrent_uploaded_layers: defaultLimits.uploads,
  check_platform_supported: false,
  config_path: "",
  max_concurrent_unpacks: defaultLimits.unpacks,
  discard_unpacked_layers: false,
} as const;

/** @throws invalid-argument naming the key */
export function parseTransferConfig(t: Readonly<Record<string, unknown>>): TransferConfig {
  const path = t["config_path"] ?? "";
  if (typeof path !== "string") throw invalidArgument("config_path: want a string");
  const configPaths = splitConfigPath(path);
  const unpack = unpackConfigs(t["unpack_config"]);
  return {
    limits: {
      downloads: count(t, "max_concurrent_downloads", defaultLimits.downloads),
      uploads: count(t, "max_concurrent_uploaded_layers", defaultLimits.uploads),
      unpacks: count(t, "max_concurrent_unpacks", defaultLimits.unpacks),
      rangeBytes: rangeBytes(count(t, "concurrent_layer_fetch_buffer", defaultLimits.rangeBytes)),
    },
    configPaths: configPaths.length > 0 ? configPaths : DEFAULT_PATHS,
    discardUnpackedLayers: flag(t, "discard_unpacked_layers"),
    checkPlatformSupported: flag(t, "check_platform_supported"),
    snapshotter: unpack[0]?.snapshotter ?? DEFAULT_SNAPSHOTTER,
    unpack,
  };
}

function flag(t: Readonly<Record<string, unknown>>, key: string): boolean {
  const value = t[key] ?? false;
  if (typeof value !== "boolean") throw invalidArgument(`${key}: want true or false`);
  return value;
}

function count(t: Readonly<Record<string, unknown>>, key: string, fallback: number): number {
  const value = t[key] ?? fallback;
  const n = typeof value === "bigint" ? Number(value) : value;
  if (typeof n !== "number" || !Number.isSafeInteger(n) || n < 0)
    throw invalidArgument(`${key}: want a whole number, 0 or more`);
  return n === 0 ? fallback : n;
}

/** containerd's reading: up to 512 bytes means one connection for each layer. 0 is our default instead of "never". */
function rangeBytes(configured: number): number {
  return configured <= 512 ? 0 : configured;
}

function unpackConfigs(value: unknown): UnpackConfig[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalidArgument("unpack_config: want a list of tables");
  return (value as unknown[]).map((entry, i) => {
    if (typeof entry !== "object" || entry === null)
      throw invalidArgument(`unpack_config.${i}: want a table`);
    const t = entry as Readonly<Record<string, unknown>>;
    const word = (key: string): string => {
      const v = t[key] ?? "";
      if (typeof v !== "string") throw invalidArgument(`unpack_config.${i}.${key}: want a string`);
      return v;
    };
    const layerTypes = t["layer_types"] ?? [];
    if (!Array.isArray(layerTypes) || !layerTypes.every((l): l is string => typeof l === "string"))
      throw invalidArgument(`unpack_config.${i}.layer_types: want a list of strings`);
    const optional = t["optional"] ?? false;
    if (typeof optional !== "boolean")
      throw invalidArgument(`unpack_config.${i}.optional: want true or false`);
    const platform = word("platform");
    return {
      platform: platform === "" ? hostPlatform() : parsePlatform(platform),
      snapshotter: word("snapshotter") || DEFAULT_SNAPSHOTTER,
      differ: word("differ"),
      configType: word("config_type"),
      layerTypes,
      optional,
    };
  });
}
