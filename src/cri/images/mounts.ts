/**
 * Images mounted into containers: each is unpacked and mounted once for a pod, read-only, below the pod's folder, and held by
 * the pod's lease. Artifacts (which have no root file system) become a folder with one file for each layer.
 */
import { readlinkSync } from "node:fs";
import { mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import type { ContainerConfig, Mount as CriMount } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, isAlreadyExists, isNotFound, messageOf, wrap } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { openInRoot } from "../../platform/fs/safe-path.ts";
import { findMount } from "../../platform/mounts/mountinfo.ts";
import { mountAll, unmountTree } from "../../platform/mounts/mounts.ts";
import { O_DIRECTORY, O_PATH } from "../../platform/syscalls/constants.ts";
import { close, open } from "../../platform/syscalls/files.ts";
import type { CriDeps } from "../deps.ts";
import { idMappings } from "../spec/userns.ts";
import { writeArtifact } from "./artifact.ts";
import type { IndexedImage } from "./image-index.ts";
import type { CriImageService } from "./service.ts";

/** Longest removal of a pod's image mounts. Milliseconds. */
const RELEASE_MS = 60_000;

/** What {@link ImageMounts.prepare} found and made. */
export interface PreparedMounts {
  /** Folders to bind, by position in `config.mounts`. */
  readonly folders: ReadonlyMap<number, string>;
  /** The request with the ids of the mounted images filled in (`image_ref`), as the status shows it. */
  readonly config: ContainerConfig;
}

/** See the file's comment. */
export class ImageMounts {
  readonly #deps: CriDeps;
  readonly #images: CriImageService;
  /** One image of one pod at a time. */
  readonly #locks = new KeyedMutex();

  constructor(deps: CriDeps, images: CriImageService) {
    this.#deps = deps;
    this.#images = images;
  }

  /**
   * Mounts the images that the container's mounts name. What was mounted stays until {@link release}.
   * @throws invalid-argument for a mount that is not read-only, not-found for an image that is not here
   */
  async prepare(
    call: NamespacedCall,
    podId: string,
    config: ContainerConfig,
    snapshotter: string,
  ): Promise<PreparedMounts> {
    const folders = new Map<number, string>();
    const mounts: CriMount[] = [];
    for (const [i, mount] of config.mounts.entries()) {
      if (mount.image === undefined) {
        mounts.push(mount);
        continue;
      }
      try {
        const { folder, id } = await this.#one(call, podId, mount, snapshotter);
        folders.set(i, folder);
        mounts.push({ ...mount, image: { ...mount.image, imageRef: id } });
      } catch (err) {
        // the kubelet looks for this word
        throw wrap(err, "ImageVolumeMountFailed");
      }
    }
    return { folders, config: folders.size === 0 ? config : { ...config, mounts } };
  }

  async #one(
    call: NamespacedCall,
    podId: string,
    mount: CriMount,
    snapshotter: string,
  ): Promise<{ folder: string; id: string }> {
    const where = `image mount at "${mount.containerPath}"`;
    if (mount.hostPath !== "") throw invalidArgument(`${where}: host path must be empty`);
    if (!mount.readonly) throw invalidArgument(`${where}: readonly must be true`);
    const reference = mount.image?.image ?? "";
    if (reference === "") throw invalidArgument(`${where}: no image given`);
    const image = this.#images.find(reference);
    const target = join(this.#podDir(podId), image.id.slice(image.id.indexOf(":") + 1));
    {
      using _lock = await this.#locks.acquire(target);
      if (findMount(target) === undefined) await this.#mount(call, podId, mount, image, snapshotter, target);
    }
    return { folder: subFolder(target, mount.imageSubPath, where), id: image.id };
  }

  async #mount(
    call: NamespacedCall,
    podId: string,
    mount: CriMount,
    image: IndexedImage,
    snapshotter: string,
    target: string,
  ): Promise<void> {
    await this.#lease(podId);
    const leased = call.with({ lease: podId }).in(call.namespace);
    await mkdir(target, { recursive: true, mode: 0o755 });
    if (image.config === undefined || image.chainId === undefined) {
      await writeArtifact(this.#deps.metadata.content, leased, image.manifest, target);
      return;
    }
    await this.#images.unpack(
      leased,
      { ...image, config: image.config, chainId: image.chainId },
      snapshotter,
    );
    const store = this.#deps.metadata.snapshotter(snapshotter);
    let mounts: Mount[];
    try {
      mounts = await store.view(leased, target, image.chainId, mappingLabels(mount));
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
      mounts = await store.mounts(leased, target);
    }
    try {
      mountAll(mounts, target);
    } catch (err) {
      await store.remove(call.detached(RELEASE_MS), target).catch(() => {});
      throw err;
    }
  }

  async #lease(podId: string): Promise<void> {
    try {
      await this.#deps.leases.create(this.#deps.call, podId, new Map());
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
  }

  /** Takes down everything mounted for a pod; nothing there is fine. Its containers must be gone. */
  async release(podId: string, snapshotter: string): Promise<void> {
    const { call, metadata, log } = this.#deps;
    const base = this.#podDir(podId);
    const names = await readdir(base).catch((err: unknown) => {
      if (err instanceof Error && "code" in err && err.code === "ENOENT") return [];
      throw err;
    });
    await unmountTree(base);
    for (const name of names) {
      const target = join(base, name);
      await metadata
        .snapshotter(snapshotter)
        .remove(call.within(RELEASE_MS), target)
        .catch((err: unknown) => {
          if (!isNotFound(err))
            log.warn("snapshot of an image mount was not removed", { target, err: messageOf(err) });
        });
      // an artifact's files are ours; of an image nothing is left but the empty mount point
      if (findMount(target) === undefined) await rm(target, { recursive: true, force: true });
    }
    if (names.length > 0) await rmdir(base);
  }

  #podDir(podId: string): string {
    return join(this.#deps.state, "image-volumes", podId);
  }
}

/** Owners are shifted by the snapshotter, as the mappings of the mount say. */
function mappingLabels(mount: CriMount): Labels {
  const [uid] = idMappings(mount.uidMappings, "UID");
  const [gid] = idMappings(mount.gidMappings, "GID");
  if (uid === undefined || gid === undefined) return new Map();
  return new Map([
    ["containerd.io/snapshot/uidmapping", `${uid.containerID}:${uid.hostID}:${uid.size}`],
    ["containerd.io/snapshot/gidmapping", `${gid.containerID}:${gid.hostID}:${gid.size}`],
  ]);
}

/** A folder inside the image; links lead nowhere else (S28). @throws invalid-argument */
function subFolder(root: string, path: string, where: string): string {
  if (path === "") return root;
  if (path.startsWith("/") || path.split("/").includes(".."))
    throw invalidArgument(`${where}: sub path "${path}" must stay inside the image`);
  const rootFd = open(root, O_PATH | O_DIRECTORY);
  try {
    const fd = openInRoot(rootFd, path, O_PATH | O_DIRECTORY);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } finally {
      close(fd);
    }
  } catch (err) {
    throw invalidArgument(`${where}: sub path "${path}": ${messageOf(err)}`, { cause: err });
  } finally {
    close(rootFd);
  }
}
