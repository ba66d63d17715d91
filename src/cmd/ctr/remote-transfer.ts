/** Pulls and pushes that the server does by itself: its Transfer service, with streams for progress and credentials. */

import { randomBytes } from "node:crypto";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type ImageStore, ImageStoreSchema } from "../../api/gen/containerd/types/transfer/imagestore_pb.ts";
import { ImageImportStreamSchema } from "../../api/gen/containerd/types/transfer/importexport_pb.ts";
import { ProgressSchema } from "../../api/gen/containerd/types/transfer/progress_pb.ts";
import {
  AuthRequestSchema,
  AuthResponseSchema,
  AuthType,
  HTTPDebug,
  OCIRegistrySchema,
} from "../../api/gen/containerd/types/transfer/registry_pb.ts";
import { introspectionClient, serverVersion } from "../../client/introspection.ts";
import { openStream, transfer } from "../../client/streaming.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { Progress } from "../../core/transfer/transfer.ts";
import { hostPlatform } from "../../oci/platform.ts";
import { apiHost, parseReference } from "../../oci/reference.ts";
import { readBytes, writeBytes } from "../../plugins/transfer/byte-streams.ts";
import type { Credentials } from "../../registry/types.ts";
import { toRecord } from "../../rpc/convert/basic.ts";
import { fromDescriptor, toPlatform } from "../../rpc/convert/oci.ts";
import type { Transport } from "../../rpc/types.ts";
import { toStderr } from "../shared/output.ts";
import { labelsOf, listOf, textOf } from "./context.ts";
import { credentialsOf, platformsOf } from "./registry-options.ts";

type Options = Readonly<Record<string, unknown>>;

/** What a remote transfer needs. */
export interface RemoteJob {
  readonly transport: Transport;
  readonly call: NamespacedCall;
  readonly ref: string;
  readonly options: Options;
  readonly snapshotter: string;
  readonly progress: (p: Progress) => void;
}

/** True when the server transfers by itself. The 1.x line has the service but lacks most of what flags ask for. */
export async function offersTransfer(transport: Transport, call: NamespacedCall): Promise<boolean> {
  const [{ version }, found] = await Promise.all([
    serverVersion(transport, call),
    introspectionClient(transport).plugins(call, ["type==io.containerd.transfer.v1"]),
  ]);
  if (/^v?1\./.test(version)) return false;
  return found.some((p) => p.state === "ok");
}

/** True when the messages of the service can say everything the flags say. */
export function saysAllRemotely(options: Options): boolean {
  const local = [
    "skipVerify",
    "tlscacert",
    "tlscert",
    "tlskey",
    "maxConcurrentDownloads",
    "syncFs",
    "discardUnpackedLayers",
  ];
  return local.every(
    (name) => options[name] === undefined || options[name] === false || options[name] === "",
  );
}

/** Pulls `ref` in the server. */
export async function remotePull(job: RemoteJob): Promise<void> {
  const { call, ref, options, snapshotter } = job;
  const wanted = platformsOf(options);
  const platforms = wanted.platforms.length > 0 ? wanted.platforms : [hostPlatform()];
  const store: MessageInitShape<typeof ImageStoreSchema> = {
    name: ref,
    labels: toRecord(labelsOf(listOf(options, "label"))),
    platforms: wanted.allPlatforms ? [] : platforms.map(toPlatform),
    manifestLimit: wanted.limit,
    unpacks: platforms.map((p) => ({ platform: toPlatform(p), snapshotter })),
  };
  const destination = create(ImageStoreSchema, store);
  await run(job, async (side) => {
    const source = await registrySide(job, side);
    return transfer(job.transport, call, source, packStore(destination), await progressStream(job, side));
  });
}

/** Pushes the image `local` to `ref` in the server. */
export async function remotePush(job: RemoteJob, local: string): Promise<void> {
  const { platforms } = platformsOf(job.options);
  const source = create(ImageStoreSchema, { name: local, platforms: platforms.map(toPlatform) });
  await run(job, async (side) => {
    const destination = await registrySide(job, side);
    return transfer(job.transport, job.call, packStore(source), destination, await progressStream(job, side));
  });
}

/** Imports an archive in the server, which unpacks what it can while it arrives. @returns names and digests, in order */
export async function remoteImport(
  job: RemoteJob,
  archive: AsyncIterable<Uint8Array>,
): Promise<{ readonly name: string; readonly digest: string }[]> {
  const { call, options, snapshotter, transport } = job;
  const wanted = platformsOf(options);
  const platforms = wanted.platforms.length > 0 ? wanted.platforms : [hostPlatform()];
  const prefix = `import-${new Date().toISOString().slice(0, 10)}`;
  const names = { name: prefix, isPrefix: true, allowOverwrite: true };
  const byDigest = { ...names, addDigest: true, skipNamedDigest: options["skipDigestForNamed"] === true };
  const store: MessageInitShape<typeof ImageStoreSchema> = {
    name: textOf(options, "indexName"),
    labels: toRecord(labelsOf(listOf(options, "label"))),
    platforms: wanted.allPlatforms ? [] : platforms.map(toPlatform),
    unpacks: snapshotter === "" ? [] : platforms.map((p) => ({ platform: toPlatform(p), snapshotter })),
    extraReferences: options["digests"] === true ? [byDigest, names] : [names],
  };
  const made = new Map<string, string>();
  const saved = (p: Progress): void => {
    if (p.event === "saved") made.set(p.name, p.desc?.digest ?? "");
    job.progress(p);
  };
  await run(job, async (side) => {
    const id = streamId("import");
    const stream = await openStream(transport, side.call, id);
    const source = create(ImageImportStreamSchema, {
      stream: id,
      forceCompress: options["compressBlobs"] === true,
    });
    // An archive that cannot be read ends the transfer. One that the server needs no more of does not.
    const end = new AbortController();
    let broken: unknown;
    const watched = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
      try {
        yield* archive;
      } catch (err) {
        broken = err;
        end.abort();
      }
    };
    writeBytes(stream, watched(), side.call.signal).catch(() => {
      // the transfer's own answer tells what went wrong
    });
    try {
      await transfer(
        transport,
        call.until(end.signal),
        { typeUrl: ImageImportStreamSchema.typeName, value: toBinary(ImageImportStreamSchema, source) },
        packStore(create(ImageStoreSchema, store)),
        await progressStream({ ...job, progress: saved }, side),
      );
    } catch (err) {
      // Why the archive could not be read tells more than that the transfer was ended for it.
      throw broken !== undefined && !call.signal.aborted ? broken : err;
    }
  });
  return [...made].map(([name, digest]) => ({ name, digest }));
}

/** Longest wait for progress that is on its way when the transfer has ended, in milliseconds. */
const LAST_WORDS_MS = 500;

/** Streams of one transfer. They end with it. */
interface Side {
  /** Aborts every stream. */
  readonly call: NamespacedCall;
  /** Resolves when the server has sent its last progress. */
  told: Promise<void>;
}

async function run(job: RemoteJob, body: (side: Side) => Promise<void>): Promise<void> {
  const end = new AbortController();
  const side: Side = { call: job.call.until(end.signal), told: Promise.resolve() };
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await body(side);
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LAST_WORDS_MS);
    });
    await Promise.race([side.told, late]);
  } finally {
    clearTimeout(timer);
    // the server never ends the stream for credentials by itself
    end.abort();
  }
}

const packStore = (message: ImageStore) => ({
  typeUrl: ImageStoreSchema.typeName,
  value: toBinary(ImageStoreSchema, message),
});

async function registrySide(job: RemoteJob, side: Side) {
  const { options, ref } = job;
  const credentials = await credentialsOf(options);
  const dump = options["httpDump"] === true;
  const trace = options["httpTrace"] === true;
  const message = create(OCIRegistrySchema, {
    reference: ref,
    resolver: {
      authStream: credentials === undefined ? "" : await authStream(job, credentials, side),
      hostDir: textOf(options, "hostsDir"),
      defaultScheme: options["plainHttp"] === true ? "http" : "",
      httpDebug:
        dump && trace
          ? HTTPDebug.BOTH
          : dump
            ? HTTPDebug.DEBUG
            : trace
              ? HTTPDebug.TRACE
              : HTTPDebug.DISABLED,
      logsStream: dump || trace ? await logsStream(job, side) : "",
    },
  });
  return { typeUrl: OCIRegistrySchema.typeName, value: toBinary(OCIRegistrySchema, message) };
}

function streamId(kind: string): string {
  return `${kind}-${randomBytes(9).toString("base64url")}`;
}

/** What progress is about; parts of Docker's archives have names instead of digests until they are stored. */
function descriptorOf(desc: Parameters<typeof fromDescriptor>[0] | undefined): { desc?: Descriptor } {
  if (desc === undefined || !desc.digest.includes(":")) return {};
  return { desc: fromDescriptor(desc, "progress") };
}

async function progressStream(job: RemoteJob, side: Side): Promise<string> {
  const id = streamId("progress");
  const stream = await openStream(job.transport, side.call, id);
  const before = side.told;
  const told = (async () => {
    for (let message = await stream.receive(); message !== undefined; message = await stream.receive()) {
      const p = fromBinary(ProgressSchema, message.value);
      job.progress({
        event: p.event,
        name: p.name,
        parents: p.parents,
        progress: p.progress,
        total: p.total,
        ...descriptorOf(p.desc),
      });
    }
  })().catch(() => {
    // the transfer's own answer tells what went wrong
  });
  side.told = Promise.all([before, told]).then(() => {});
  return id;
}

/** Shows what the server says of its requests. */
async function logsStream(job: RemoteJob, side: Side): Promise<string> {
  const id = streamId("logs");
  const stream = await openStream(job.transport, side.call, id);
  const shown = (async () => {
    for await (const bytes of readBytes(stream, side.call.signal)) toStderr(bytes);
  })().catch(() => {
    // the transfer's own answer tells what went wrong
  });
  const progress = side.told;
  side.told = Promise.all([progress, shown]).then(() => {});
  return id;
}

/** Answers the server's questions for credentials; only for the registry the reference names. */
async function authStream(job: RemoteJob, credentials: Credentials, side: Side): Promise<string> {
  const id = streamId("auth");
  const stream = await openStream(job.transport, side.call, id);
  const { host } = parseReference(job.ref);
  const answers = async (): Promise<void> => {
    for (let message = await stream.receive(); message !== undefined; message = await stream.receive()) {
      const asked = fromBinary(AuthRequestSchema, message.value);
      const ours = asked.host === host || asked.host === apiHost(host);
      const answer = create(AuthResponseSchema, ours ? secretOf(credentials) : { authType: AuthType.NONE });
      await stream.send({
        typeUrl: AuthResponseSchema.typeName,
        value: toBinary(AuthResponseSchema, answer),
      });
    }
  };
  answers().catch(() => {
    // the transfer's own answer tells what went wrong
  });
  return id;
}

function secretOf(c: Credentials): MessageInitShape<typeof AuthResponseSchema> {
  switch (c.kind) {
    case "basic":
      return { authType: AuthType.CREDENTIALS, username: c.username, secret: c.password };
    case "refresh":
      return { authType: AuthType.REFRESH, secret: c.token };
    case "bearer":
      return { authType: AuthType.HEADER, secret: `Bearer ${c.token}` };
    case "header":
      return { authType: AuthType.HEADER, secret: c.value };
  }
}
