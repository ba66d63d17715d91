/** Applies layers to mounts and makes layers from the difference of two mounts. */
import type { AnyValue, Labels, TimeNs } from "../any.ts";
import type { NamespacedCall } from "../call.ts";
import type { Mount } from "../mounts/mount.ts";
import type { Descriptor } from "../oci.ts";

/** Options of apply. */
export interface ApplyOptions {
  /** Make the data durable before returning. */
  readonly syncFs?: boolean | undefined;
  /** Options for stream processors by media type. */
  readonly processorPayloads?: ReadonlyMap<string, AnyValue> | undefined;
  /** Reports bytes of the compressed layer consumed so far. */
  readonly progress?: ((bytes: bigint) => void) | undefined;
}

/** Unpacks a layer. */
export interface Applier {
  /**
   * Applies the layer `desc` of the content store onto `mounts`.
   * @returns descriptor of the uncompressed tar (its digest is the diff id).
   * @throws not-found (blob), not-implemented (media type), failed-precondition (digest mismatch), invalid-argument (hostile entry)
   */
  apply(
    call: NamespacedCall,
    desc: Descriptor,
    mounts: readonly Mount[],
    options?: ApplyOptions,
  ): Promise<Descriptor>;
}

/** Options of compare. */
export interface CompareOptions {
  /** Media type of the layer; default OCI tar+gzip. */
  readonly mediaType?: string | undefined;
  /** Ingest ref; random when not given. */
  readonly ref?: string | undefined;
  readonly labels?: Labels | undefined;
  /** Latest modification time written, for reproducible layers. */
  readonly sourceDateEpoch?: TimeNs | undefined;
}

/** Makes a layer. */
export interface Comparer {
  /** Writes what changed from `lower` to `upper` as a layer into the content store. */
  compare(
    call: NamespacedCall,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options?: CompareOptions,
  ): Promise<Descriptor>;
}

/** A layer that is unpacked while it arrives. Daemon only: needs the local content store and a helper process. */
export interface StreamApplier extends Applier {
  /**
   * Starts a helper that writes the arriving bytes to `blobPath` (append), hashes them, decompresses, hashes again and
   * extracts into `mounts`. `parents` mounts need not exist yet: fix-ups that need them run in {@link StreamUnpack.finish}.
   */
  start(call: NamespacedCall, options: StreamUnpackOptions): Promise<StreamUnpack>;
  /** Tells that a layer is about to come: what takes time to start may start now. */
  expect?(): void;
}

/** See {@link StreamApplier.start}. */
export interface StreamUnpackOptions {
  readonly mediaType: string;
  /** File the compressed bytes are appended to (what it holds already is the start of the blob); undefined = not stored. */
  readonly blobPath?: string | undefined;
  /** A stored blob to unpack: the helper reads it itself, `write` is not called. */
  readonly sourcePath?: string | undefined;
  /** Bytes of `sourcePath` consumed so far. */
  readonly progress?: ((bytes: bigint) => void) | undefined;
  /** Mounts of the active snapshot; undefined = store and hash only. */
  readonly mounts?: readonly Mount[] | undefined;
  /** Without mounts: file that the decompressed bytes go to. */
  readonly plainPath?: string | undefined;
  /** Takes less time than a process's start: better done after another layer than beside it. */
  readonly small?: boolean | undefined;
}

/** One running unpack. */
export interface StreamUnpack extends AsyncDisposable {
  /** Gives the next compressed bytes; resolves when more may be given. */
  write(data: Uint8Array): Promise<void>;
  /** Tells the end of the stream; resolves with what was seen. */
  end(): Promise<StreamResult>;
  /** Tells that {@link finish} comes only later: others may use the core meanwhile. */
  rest(): void;
  /** Completes entries that needed parent layers (implied directories, hard links to lower files). `mounts` are the final ones. */
  finish(mounts: readonly Mount[]): Promise<void>;
  /** Kills the helper. */
  abort(): Promise<void>;
}

/** What a stream unpack saw. */
export interface StreamResult {
  /** Digest and size of the compressed bytes. */
  readonly blob: { readonly digest: string; readonly size: bigint };
  /** Digest and size of the tar; undefined when nothing was unpacked. */
  readonly diff?: { readonly digest: string; readonly size: bigint } | undefined;
}
