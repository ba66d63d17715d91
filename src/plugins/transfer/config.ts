/** Configuration of `io.containerd.transfer.v1.local`. */
import { invalidArgument } from "../../core/errors.ts";
import { splitConfigPath } from "../../registry/hosts.ts";
import { defaultLimits, type TransferLimits } from "./context.ts";

/** Parsed configuration. */
export interface TransferConfig {
  readonly limits: TransferLimits;
  /** Folders of hosts.toml folders. */
  readonly configPaths: readonly string[];
  readonly checkPlatformSupported: boolean;
  /** Snapshotter of unpacks that name none. */
  readonly snapshotter: string;
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
} as const;

/** @throws invalid-argument naming the key */
export function parseTransferConfig(t: Readonly<Record<string, unknown>>): TransferConfig {
  const path = t["config_path"] ?? "";
  if (typeof path !== "string") throw invalidArgument("config_path: want a string");
  const configPaths = splitConfigPath(path);
  return {
    limits: {
      downloads: count(t, "max_concurrent_downloads", defaultLimits.downloads),
      uploads: count(t, "max_concurrent_uploaded_layers", defaultLimits.uploads),
      unpacks: count(t, "max_concurrent_unpacks", defaultLimits.unpacks),
      rangeBytes: rangeBytes(count(t, "concurrent_layer_fetch_buffer", defaultLimits.rangeBytes)),
    },
    configPaths: configPaths.length > 0 ? configPaths : DEFAULT_PATHS,
    checkPlatformSupported: t["check_platform_supported"] === true,
    snapshotter: firstSnapshotter(t["unpack_config"]) ?? "overlayfs",
  };
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

function firstSnapshotter(value: unknown): string | undefined {
  if (!Array.isArray(value)) return undefined;
  for (const entry of value as unknown[]) {
    if (
      typeof entry === "object" &&
      entry !== null &&
      "snapshotter" in entry &&
      typeof entry.snapshotter === "string"
    )
      return entry.snapshotter;
  }
  return undefined;
}
