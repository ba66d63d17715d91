/**
 * CheckpointContainer: one tar archive with the frozen process (CRIU), what changed of its file system, its spec,
 * configuration, status and log, in the layout that containerd and CRI-O write. The container runs on.
 */
import { createReadStream } from "node:fs";
import { copyFile, mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import type { Call, NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, invalidArgument, isNotFound, notImplemented, wrap } from "../../core/errors.ts";
import { formatRfc3339, nowNs } from "../../lib/time.ts";
import { ustarEnd, ustarHeader, ustarPadding } from "../../lib/ustar.ts";
import { toExactJson, unpackSpec } from "../../oci/spec/json.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import type { Cri } from "../cri.ts";
import type { Container } from "../model.ts";

const TOTAL_MS = 600_000;
const CLEAN_MS = 60_000;
const LAYER = "application/vnd.oci.image.layer.v1.tar";

/** Writes a checkpoint to the file `location`. @param timeoutMs 0 = the engine's own limit */
export async function checkpointContainer(
  cri: Cri,
  call: Call,
  idOrPrefix: string,
  location: string,
  timeoutMs: number,
): Promise<void> {
  if (!cri.deps.config.enableCriu)
    throw notImplemented("checkpoint a container: enable_criu is off in the configuration");
  if (!isAbsolute(location))
    throw invalidArgument(`checkpoint location "${location}": want an absolute path`);
  const container = cri.store.container(idOrPrefix);
  if (container.state !== "running")
    throw failedPrecondition(
      `container "${container.id}" is not running: only a running one can be checkpointed`,
    );
  using _lock = await cri.locks.acquire(container.id, call.signal);
  const { deps, records } = cri;
  const work = deps.call.until(call.signal).within(timeoutMs > 0 ? Math.min(timeoutMs, TOTAL_MS) : TOTAL_MS);
  const dir = join(records.containerDir(container.id), "checkpoint");
  try {
    await removeTree(dir);
    await mkdir(join(dir, "checkpoint"), { recursive: true, mode: 0o700 });
    await deps.tasks
      .checkpoint(work, container.id, deps.codec.checkpointOptions(join(dir, "checkpoint"), dir), "")
      .catch((err: unknown) => {
        throw wrap(err, `checkpoint container "${container.id}"`);
      });
    await writeFacts(cri, work, container, dir);
    await writeDiff(cri, work, container, join(dir, "rootfs-diff.tar"));
    if (container.logPath !== "")
      await copyFile(container.logPath, join(dir, "container.log")).catch((err: unknown) => {
        if (!(err instanceof Error && "code" in err && err.code === "ENOENT")) throw err;
      });
    await pack(dir, location);
  } finally {
    await removeTree(dir);
  }
}

async function writeFacts(cri: Cri, call: NamespacedCall, container: Container, dir: string): Promise<void> {
  const record = await cri.deps.metadata.containers.get(call, container.id);
  const { config } = container;
  const json = (value: unknown): string => toExactJson(value, 2);
  await Promise.all([
    writeFile(join(dir, "spec.dump"), json(unpackSpec(record.spec))),
    writeFile(
      join(dir, "config.dump"),
      json({
        id: container.id,
        name: container.name,
        rootfsImage: config.image?.image ?? "",
        rootfsImageRef: container.imageRef,
        rootfsImageName: config.image?.userSpecifiedImage ?? "",
        runtime: record.runtime.name,
        createdTime: formatRfc3339(container.createdAt),
        checkpointedTime: formatRfc3339(nowNs()),
        restoredTime: "0001-01-01T00:00:00Z",
        restored: false,
      }),
    ),
    writeFile(
      join(dir, "status.dump"),
      json({
        CreatedAt: container.createdAt,
        StartedAt: container.startedAt ?? 0n,
        FinishedAt: 0,
        ExitCode: 0,
        Pid: container.pid,
        Reason: container.reason,
        Message: container.message,
      }),
    ),
  ]);
}

/** What the container changed in its image's files, as a layer. */
async function writeDiff(cri: Cri, call: NamespacedCall, container: Container, path: string): Promise<void> {
  const { metadata, differ } = cri.deps;
  const snapshots = metadata.snapshotter(container.snapshotter);
  const { parent } = await snapshots.stat(call, container.snapshotKey);
  const view = `checkpoint-${container.id}`;
  const clean = cri.deps.call.detached(CLEAN_MS);
  // held by the pod's lease while they are here
  const leased = call.with({ lease: container.podId }).in(call.namespace);
  await snapshots.remove(call, view).catch(ignoreMissing);
  const lower = await snapshots.view(leased, view, parent, new Map());
  try {
    const upper = await snapshots.mounts(call, container.snapshotKey);
    const layer = await differ.compare(leased, lower, upper, { mediaType: LAYER });
    await using reader = await metadata.content.reader(call, layer.digest);
    await using file = await open(path, "w", 0o600);
    for await (const piece of reader.stream()) await file.write(piece);
    await metadata.content.delete(clean, layer.digest).catch(ignoreMissing);
  } finally {
    await snapshots.remove(clean, view).catch(ignoreMissing);
  }
}

/** Only a whole archive gets the name that was asked for. */
async function pack(dir: string, location: string): Promise<void> {
  await mkdir(dirname(location), { recursive: true, mode: 0o700 });
  const part = `${location}.part`;
  try {
    const file = await open(part, "w", 0o600);
    try {
      const add = async (name: string): Promise<void> => {
        const path = join(dir, name);
        const facts = await stat(path, { bigint: true });
        const mtime = facts.mtimeMs / 1000n;
        if (facts.isDirectory()) {
          await file.write(ustarHeader({ name: `${name}/`, size: 0n, mode: 0o700, mtime }));
          for (const inner of (await readdir(path)).sort()) await add(`${name}/${inner}`);
          return;
        }
        if (!facts.isFile()) return;
        await file.write(ustarHeader({ name, size: facts.size, mode: 0o600, mtime }));
        for await (const piece of createReadStream(path)) await file.write(piece as Uint8Array);
        await file.write(ustarPadding(facts.size));
      };
      for (const name of (await readdir(dir)).sort()) await add(name);
      await file.write(ustarEnd());
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, location);
  } catch (err) {
    await rm(part, { force: true });
    throw wrap(err, `write checkpoint "${location}"`);
  }
}

function ignoreMissing(err: unknown): void {
  if (!isNotFound(err)) throw err;
}
