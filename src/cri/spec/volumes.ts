/** Volumes that an image defines: folders of the container's own, filled with what the image has there. */

import { randomBytes } from "node:crypto";
import { chmodSync, chownSync, type Stats } from "node:fs";
import { cp, lstat, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { resolveInRoot } from "../../platform/fs/safe-path.ts";
import { PROPAGATION } from "./constants.ts";
import type { ContainerSpecInput } from "./input.ts";
import { type BindMount, cleanPath, isMounted } from "./mounts.ts";

/** Copy what the image has at `inside` into the folder `host`. */
export interface VolumeCopy {
  readonly host: string;
  readonly inside: string;
}

/** Volumes of the image that the request does not mount itself. Their folders are made by {@link copyVolumes}. */
export function volumeMounts(input: ContainerSpecInput): BindMount[] {
  if (input.settings.ignoreImageDefinedVolumes) return [];
  const userns = input.config.linux?.securityContext?.namespaceOptions?.usernsOptions;
  return [...new Set(input.image.volumes.map(cleanPath))]
    .filter((path) => !isMounted(path, input.config.mounts))
    .map((containerPath) => ({
      containerPath,
      hostPath: join(input.rootDir, "volumes", randomBytes(32).toString("hex")),
      readonly: false,
      recursiveReadOnly: false,
      propagation: PROPAGATION.private,
      selinuxRelabel: true,
      uidMappings: userns?.uids ?? [],
      gidMappings: userns?.gids ?? [],
      ours: true,
    }));
}

/** Makes each folder and fills it. Nobody else can write to `root`. */
export async function copyVolumes(root: string, volumes: readonly VolumeCopy[]): Promise<void> {
  for (const { host, inside } of volumes) {
    await mkdir(host, { recursive: true, mode: 0o755 });
    const source = resolveInRoot(root, inside);
    const found = await lstat(source).catch(() => undefined);
    if (found?.isDirectory() === true) await copyTree(source, host, found);
  }
}

async function copyTree(from: string, to: string, top: Stats): Promise<void> {
  for (const name of await readdir(from))
    await cp(join(from, name), join(to, name), {
      recursive: true,
      verbatimSymlinks: true,
      preserveTimestamps: true,
    });
  chownSync(to, top.uid, top.gid);
  chmodSync(to, top.mode & 0o7777);
}
