/** Settings of CRI's images: the table `io.containerd.cri.v1.images`, parsed. */
import { invalidArgument } from "../core/errors.ts";
import { parseDuration } from "../lib/human.ts";
import { Table } from "./config-table.ts";

/** The table `io.containerd.cri.v1.images`. */
export interface ImagesConfig {
  readonly snapshotter: string;
  readonly disableSnapshotAnnotations: boolean;
  readonly discardUnpackedLayers: boolean;
  readonly maxConcurrentDownloads: number;
  readonly concurrentLayerFetchBuffer: number;
  /** Milliseconds without progress after which a pull is given up; 0 = never. */
  readonly imagePullProgressTimeout: number;
  readonly imagePullWithSyncFs: boolean;
  /** Milliseconds. */
  readonly statsCollectPeriod: number;
  readonly useLocalImagePull: boolean;
  /** Image of the pod's own process. */
  readonly sandboxImage: string;
  /** All pinned images by what they are for. */
  readonly pinnedImages: ReadonlyMap<string, string>;
  /** Platform and snapshotter by runtime handler. */
  readonly runtimePlatforms: ReadonlyMap<string, { readonly platform: string; readonly snapshotter: string }>;
  /** `registry` as written: config_path, mirrors, configs, auths, headers. */
  readonly registry: Readonly<Record<string, unknown>>;
  /** The table with all defaults, for `crictl info`. */
  readonly table: Readonly<Record<string, unknown>>;
}

/** Keys of `io.containerd.cri.v1.images` with their defaults. */
export const imagesDefaults: Readonly<Record<string, unknown>> = {
  snapshotter: "overlayfs",
  disable_snapshot_annotations: true,
  discard_unpacked_layers: false,
  max_concurrent_downloads: 3,
  concurrent_layer_fetch_buffer: 0,
  image_pull_progress_timeout: "5m0s",
  image_pull_with_sync_fs: false,
  stats_collect_period: 10,
  use_local_image_pull: false,
  pinned_images: {},
  registry: {},
  image_decryption: { key_model: "node" },
  runtime_platforms: {},
};

/** Used when no pinned image `sandbox` is configured: the one inside the executable. */
export const DEFAULT_SANDBOX_IMAGE = "gantry.local/pause:latest";

/** Parses the table. @throws invalid-argument naming the key */
export function parseImagesConfig(given: Readonly<Record<string, unknown>>): ImagesConfig {
  const t = new Table(given, imagesDefaults);
  const pinned = t.table("pinned_images", {}).merged;
  const pinnedImages = new Map<string, string>();
  for (const [name, value] of Object.entries(pinned)) {
    if (typeof value !== "string") throw invalidArgument(`pinned_images.${name}: want a string`);
    pinnedImages.set(name, value);
  }
  const platforms = new Map<string, { platform: string; snapshotter: string }>();
  for (const [name, table] of t.tables("runtime_platforms")) {
    const inner = new Table(table, { platform: "", snapshotter: "" }, `runtime_platforms.${name}.`);
    platforms.set(name, { platform: inner.text("platform"), snapshotter: inner.text("snapshotter") });
  }
  const timeout = t.text("image_pull_progress_timeout");
  let imagePullProgressTimeout: number;
  try {
    imagePullProgressTimeout = timeout === "" ? 0 : Number(parseDuration(timeout) / 1_000_000n);
  } catch {
    throw invalidArgument(`image_pull_progress_timeout "${timeout}": want a duration such as "5m"`);
  }
  return {
    snapshotter: t.text("snapshotter"),
    disableSnapshotAnnotations: t.flag("disable_snapshot_annotations"),
    discardUnpackedLayers: t.flag("discard_unpacked_layers"),
    maxConcurrentDownloads: t.whole("max_concurrent_downloads"),
    concurrentLayerFetchBuffer: t.whole("concurrent_layer_fetch_buffer"),
    imagePullProgressTimeout,
    imagePullWithSyncFs: t.flag("image_pull_with_sync_fs"),
    statsCollectPeriod: t.whole("stats_collect_period") * 1_000,
    useLocalImagePull: t.flag("use_local_image_pull"),
    sandboxImage: pinnedImages.get("sandbox") ?? DEFAULT_SANDBOX_IMAGE,
    pinnedImages,
    runtimePlatforms: platforms,
    registry: t.table("registry", {}).merged,
    table: t.merged,
  };
}
