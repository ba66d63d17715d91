/** Volumes that an image defines: folders of the container's own, filled with what the image has there. */

import { randomBytes } from "node:crypto";
import { chmod, chown, lstat, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { internal } from "../../core/errors.ts";
import { resolveInRoot } from "../../platform/fs/safe-path.ts";
import { run } from "../../platform/process/spawn.ts";
import { reExec } from "../../platform/runtime.ts";
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

/** Longest copy of one volume. Milliseconds. */
const COPY_MS = 600_000;

/**
 * Makes each folder and fills it. Nobody else can write to `root`.
 * @throws internal with the reason of the copy
 */
export async function copyVolumes(
  root: string,
  volumes: readonly VolumeCopy[],
  signal?: AbortSignal,
): Promise<void> {
  for (const { host, inside } of volumes) {
    await mkdir(host, { recursive: true, mode: 0o755 });
    const source = resolveInRoot(root, inside);
    const found = await lstat(source).catch(() => undefined);
    if (found?.isDirectory() !== true) continue;
    if ((await readdir(source)).length > 0) {
      // large ones must not hold the daemon up
      const { command, args, argv0 } = reExec(["helper", "copy-tree", source, host]);
      const done = await run(command, args, {
        ...(argv0 === undefined ? {} : { argv0 }),
        ...(signal === undefined ? {} : { signal }),
        timeoutMs: COPY_MS,
      });
      if (done.code !== 0)
        throw internal(`copy volume "${inside}": ${new TextDecoder().decode(done.stderr).trim()}`);
      continue;
    }
    await chown(host, found.uid, found.gid);
    await chmod(host, found.mode & 0o7777);
  }
}
