/** containers checkpoint and restore: a container as an index of its spec, image, writable layer and CRIU's images. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { CheckpointOptionsSchema } from "../../../api/gen/containerd/types/runc/options/oci_pb.ts";
import { containersClient } from "../../../client/containers.ts";
import { contentClient } from "../../../client/content.ts";
import { diffClient } from "../../../client/diff.ts";
import { imagesClient } from "../../../client/images.ts";
import { snapshotterClient } from "../../../client/snapshots.ts";
import { tasksClient } from "../../../client/tasks.ts";
import { withLease } from "../../../client/with-lease.ts";
import type { AnyValue } from "../../../core/any.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import type { Container } from "../../../core/containers/containers.ts";
import {
  failedPrecondition,
  invalidArgument,
  isAlreadyExists,
  isNotFound,
  notFound,
} from "../../../core/errors.ts";
import { type Digest, parseDigest } from "../../../core/ids/digest.ts";
import { checkIdentifier } from "../../../core/ids/namespace.ts";
import type { Descriptor } from "../../../core/oci.ts";
import {
  CHECKPOINT_CONFIG_TYPE,
  CHECKPOINT_IMAGE_NAME,
  CHECKPOINT_OPTIONS_TYPE,
  CHECKPOINT_RUNTIME_NAME,
  CHECKPOINT_RUNTIME_OPTIONS_TYPE,
  CHECKPOINT_SNAPSHOTTER_NAME,
  CHECKPOINT_TYPE,
} from "../../../oci/checkpoint-types.ts";
import { isIndexType, isManifestType, OCI_INDEX, OCI_LAYER_GZIP } from "../../../oci/media-types.ts";
import { hostPlatform } from "../../../oci/platform.ts";
import { packSpec, unpackSpec } from "../../../oci/spec/json.ts";
import { fromAny, toAny } from "../../../rpc/convert/basic.ts";
import type { Transport } from "../../../rpc/types.ts";
import type { Action } from "../command.ts";
import { need } from "../context.ts";
import { ensureUnpacked } from "../create-container.ts";
import { readJson, resolveImage } from "../image-config.ts";
import { runForeground } from "../process-session.ts";
import { openStdio } from "../stdio.ts";

/** Largest message of a checkpoint that is read whole. Bytes. */
const MAX_MESSAGE = 8n << 20n;

export const checkpoint: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const id = need(args, 0, "container id");
  const ref = need(args, 1, "checkpoint ref");
  const container = await containersClient(transport).get(call, id);
  if (container.image === "")
    throw failedPrecondition(`checkpoint container "${id}": it has no image`, {
      hint: "only containers that were made from an image can be restored from a checkpoint",
    });
  const tasks = tasksClient(transport);
  const state = await tasks.get(call, id, "").catch((err: unknown) => {
    if (isNotFound(err)) return undefined;
    throw err;
  });
  // nothing may change while its parts are taken
  const pause = state?.status === "running";
  if (pause) await tasks.pause(call, id);
  try {
    await withLease(transport, call, async (leased) => {
      const parts = await takeParts(transport, leased, container, options);
      const index = await writeIndex(transport, leased, container, parts);
      await imagesClient(transport).create(leased, { name: ref, target: index, labels: new Map() });
    });
  } finally {
    if (pause) await tasks.resume(call.detached(10_000), id);
  }
  return 0;
};

async function takeParts(
  transport: Transport,
  call: NamespacedCall,
  container: Container,
  options: Readonly<Record<string, unknown>>,
): Promise<Descriptor[]> {
  const { id } = container;
  const put = (name: string, type: string, any: AnyValue): Promise<Descriptor> =>
    putBlob(
      transport,
      call,
      `${id}-checkpoint-${name}`,
      type,
      toBinary(AnySchema, create(AnySchema, toAny(any))),
    );
  const parts: Descriptor[] = [];
  if (container.runtime.options !== undefined)
    parts.push(await put("runtime-options", CHECKPOINT_RUNTIME_OPTIONS_TYPE, container.runtime.options));
  if (options["image"] === true)
    parts.push((await imagesClient(transport).get(call, container.image)).target);
  if (options["rw"] === true) parts.push(await takeLayer(transport, call, container));
  if (options["task"] === true) {
    const wanted = create(CheckpointOptionsSchema, {});
    const any = {
      typeUrl: CheckpointOptionsSchema.typeName,
      value: toBinary(CheckpointOptionsSchema, wanted),
    };
    parts.push(...(await tasksClient(transport).checkpoint(call, id, any, "")));
    parts.push(await put("options", CHECKPOINT_OPTIONS_TYPE, any));
  } else if (container.spec !== undefined) {
    // the task's checkpoint has the spec in it; without one it is added, for there is no restore without
    parts.push(await put("spec", CHECKPOINT_CONFIG_TYPE, container.spec));
  }
  return parts;
}

/** What the container wrote, as a layer. */
async function takeLayer(
  transport: Transport,
  call: NamespacedCall,
  { snapshotter, snapshotKey }: Container,
): Promise<Descriptor> {
  const snapshots = snapshotterClient(transport, snapshotter);
  const { parent } = await snapshots.stat(call, snapshotKey);
  const below = `checkpoint-${process.pid}-${snapshotKey}`;
  const lower = await snapshots.view(call, below, parent, new Map());
  try {
    const upper = await snapshots.mounts(call, snapshotKey);
    return await diffClient(transport).compare(call, lower, upper, {
      mediaType: OCI_LAYER_GZIP,
      ref: `checkpoint-rw-${snapshotKey}`,
    });
  } finally {
    await snapshots.remove(call.detached(10_000), below).catch(() => {});
  }
}

async function writeIndex(
  transport: Transport,
  call: NamespacedCall,
  container: Container,
  parts: readonly Descriptor[],
): Promise<Descriptor> {
  const { os, architecture } = hostPlatform();
  const json = {
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: parts.map((d) => ({
      mediaType: d.mediaType,
      digest: d.digest,
      size: Number(d.size),
      platform: { architecture, os },
    })),
    annotations: {
      [CHECKPOINT_IMAGE_NAME]: container.image,
      [CHECKPOINT_RUNTIME_NAME]: container.runtime.name,
      [CHECKPOINT_SNAPSHOTTER_NAME]: container.snapshotter,
    },
  };
  const labels = new Map(parts.map((d, i) => [`containerd.io/gc.ref.content.${i}`, String(d.digest)]));
  const bytes = new TextEncoder().encode(JSON.stringify(json));
  return await putBlob(transport, call, `${container.id}-index`, OCI_INDEX, bytes, labels);
}

async function putBlob(
  transport: Transport,
  call: NamespacedCall,
  ref: string,
  mediaType: string,
  bytes: Uint8Array,
  labels: ReadonlyMap<string, string> = new Map(),
): Promise<Descriptor> {
  const content = contentClient(transport);
  await using writer = await content.writer(call, { ref });
  await writer.truncate(0n);
  await writer.write(bytes);
  const size = BigInt(bytes.length);
  const digest = writer.digest();
  await writer.commit(size, digest, labels).catch((err: unknown): Digest => {
    if (isAlreadyExists(err)) return digest;
    throw err;
  });
  return { mediaType, digest, size };
}

/** A checkpoint as it is read back. */
interface Checkpoint {
  readonly parts: readonly Descriptor[];
  readonly image: string;
  readonly runtime: string;
  readonly snapshotter: string;
}

export const restore: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call(false);
  const id = need(args, 0, "container id");
  checkIdentifier(id);
  const ref = need(args, 1, "checkpoint ref");
  const { target } = await imagesClient(transport)
    .get(call, ref)
    .catch((err: unknown) => {
      throw isNotFound(err)
        ? notFound(`checkpoint "${ref}"`, {
            hint: "checkpoints are images: see ctr images ls, ctr images pull",
          })
        : err;
    });
  const from = await readCheckpoint(transport, call, ref, target);
  const live = from.parts.find((d) => d.mediaType === CHECKPOINT_TYPE);
  if (options["live"] === true && live === undefined)
    throw notFound(`memory of the container in checkpoint "${ref}"`, {
      hint: "make the checkpoint with --task, or restore without --live",
    });
  const container = await withLease(transport, call, (leased) =>
    remake(transport, leased, id, from, options["rw"] === true),
  );
  const terminal = unpackSpec(container.spec).process?.terminal === true;
  const tasks = tasksClient(transport);
  const io = await openStdio(id, { terminal });
  try {
    const rootfs = await snapshotterClient(transport, container.snapshotter).mounts(call, id);
    await tasks.create(call, {
      containerId: id,
      rootfs,
      ...io.stdio,
      ...(options["live"] === true ? { checkpoint: live } : {}),
    });
    const exit = await runForeground({ tasks, call, id, execId: "", io, terminal }, true);
    await tasks.delete(call, id);
    return exit.status;
  } finally {
    io.dispose();
  }
};

async function readCheckpoint(
  transport: Transport,
  call: NamespacedCall,
  ref: string,
  target: Descriptor,
): Promise<Checkpoint> {
  const json = (await readJson(contentClient(transport), call, target.digest)) as {
    manifests?: { mediaType?: string; digest?: string; size?: number }[];
    annotations?: Record<string, string>;
  };
  const image = json.annotations?.[CHECKPOINT_IMAGE_NAME] ?? "";
  if (!Array.isArray(json.manifests) || image === "")
    throw invalidArgument(`restore from "${ref}": not a checkpoint of a container`);
  return {
    parts: json.manifests.map((m) => ({
      mediaType: String(m.mediaType),
      digest: parseDigest(String(m.digest)),
      size: BigInt(m.size ?? 0),
    })),
    image,
    runtime: json.annotations?.[CHECKPOINT_RUNTIME_NAME] ?? "io.containerd.runc.v2",
    snapshotter: json.annotations?.[CHECKPOINT_SNAPSHOTTER_NAME] || "overlayfs",
  };
}

/** Makes the container again: image, snapshot with what was written, record. */
async function remake(
  transport: Transport,
  call: NamespacedCall,
  id: string,
  from: Checkpoint,
  rw: boolean,
): Promise<Container> {
  const content = contentClient(transport);
  const target = await imageOf(transport, call, from);
  const resolved = await resolveImage(content, call, target, hostPlatform());
  const parent = await ensureUnpacked(transport, call, from.snapshotter, resolved);
  const snapshots = snapshotterClient(transport, from.snapshotter);
  const mounts = await snapshots.prepare(call, id, parent ?? "", new Map());
  try {
    if (rw) {
      const layer = from.parts.find((d) => d.mediaType === OCI_LAYER_GZIP);
      if (layer === undefined)
        throw notFound("the container's files in the checkpoint", { hint: "make the checkpoint with --rw" });
      await diffClient(transport).apply(call, layer, mounts);
    }
    const any = await readAny(transport, call, from, CHECKPOINT_CONFIG_TYPE);
    if (any === undefined) throw notFound("the container's spec in the checkpoint");
    const spec = unpackSpec(any);
    // the cgroup is named after the container
    if (spec.linux?.cgroupsPath?.match(/^\/[^/]+\/[^/]+$/))
      spec.linux.cgroupsPath = `/${call.namespace}/${id}`;
    const options = await readAny(transport, call, from, CHECKPOINT_RUNTIME_OPTIONS_TYPE);
    return await containersClient(transport).create(call, {
      id,
      labels: new Map(),
      image: from.image,
      runtime: { name: from.runtime, options },
      spec: packSpec(spec),
      snapshotter: from.snapshotter,
      snapshotKey: id,
      extensions: new Map(),
      sandbox: "",
    });
  } catch (err) {
    await snapshots.remove(call.detached(10_000), id).catch(() => {});
    throw err;
  }
}

/** The container's image: that of its name, else the one in the checkpoint, which gets the name back. */
async function imageOf(transport: Transport, call: NamespacedCall, from: Checkpoint): Promise<Descriptor> {
  const images = imagesClient(transport);
  try {
    return (await images.get(call, from.image)).target;
  } catch (err) {
    const inside = from.parts.find((d) => isIndexType(d.mediaType) || isManifestType(d.mediaType));
    if (!isNotFound(err)) throw err;
    if (inside === undefined)
      throw notFound(`image "${from.image}" of the checkpoint`, {
        hint: `pull it first: ctr images pull ${from.image}; or make the checkpoint with --image`,
      });
    return (await images.create(call, { name: from.image, target: inside, labels: new Map() })).target;
  }
}

async function readAny(
  transport: Transport,
  call: NamespacedCall,
  from: Checkpoint,
  type: string,
): Promise<AnyValue | undefined> {
  const part = from.parts.find((d) => d.mediaType === type);
  if (part === undefined) return undefined;
  await using reader = await contentClient(transport).reader(call, part.digest);
  if (reader.size > MAX_MESSAGE)
    throw invalidArgument(`read "${part.digest}": larger than ${MAX_MESSAGE} bytes`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of reader.stream()) chunks.push(chunk.slice());
  return fromAny(fromBinary(AnySchema, Buffer.concat(chunks)));
}
