/**
 * Content store: immutable blobs named by their digest.
 *
 * Lifecycle of a blob: a writer is opened under a `ref` (any string, unique among the open ingests of a namespace), bytes
 * are appended, `commit` checks size and digest and makes the blob visible in the namespace. An ingest that is neither
 * committed nor aborted survives restarts and can be resumed under the same ref. One writer per ref at a time: a second
 * gets `unavailable`. Blobs are shared between namespaces on disk; what a namespace sees is metadata.
 */

import type { Labels, TimeNs } from "../any.ts";
import type { NamespacedCall } from "../call.ts";
import type { Digest } from "../ids/digest.ts";

/** What is known of a blob. */
export interface ContentInfo {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: bigint;
  readonly createdAt: TimeNs;
  readonly updatedAt: TimeNs;
  readonly labels: Labels;
}

/** State of an ingest. */
export interface IngestStatus {
  readonly ref: string;
  /** Bytes written so far. */
  readonly offset: bigint;
  /** Expected size; 0 when unknown. */
  readonly total: bigint;
  /** Expected digest; undefined when unknown. */
  readonly expected?: Digest | undefined;
  readonly startedAt: TimeNs;
  readonly updatedAt: TimeNs;
}

/** Random access to a blob's bytes. Close it. */
export interface BlobReader extends AsyncDisposable {
  readonly size: bigint;
  /** Reads up to `length` bytes at `offset`; shorter only at the end; empty at or past the end. The buffer is the caller's. */
  readAt(offset: bigint, length: number): Promise<Uint8Array>;
  /** Streams from `offset`. */
  stream(offset?: bigint): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** How to open a writer. */
export interface WriterOptions {
  readonly ref: string;
  /** Expected size in bytes; 0n when unknown. */
  readonly size?: bigint | undefined;
  /** Expected digest. When the namespace has it already, opening fails with `already-exists`. */
  readonly expected?: Digest | undefined;
}

/** An open ingest. Closing without commit keeps it for later. */
export interface ContentWriter extends AsyncDisposable {
  status(): IngestStatus;
  /** Appends bytes; resolves when the next call may be made (backpressure). The buffer may be reused afterwards. */
  write(data: Uint8Array): Promise<void>;
  /** Cuts the ingest to `size` bytes (only 0n, or a shorter length, is supported). */
  truncate(size: bigint): Promise<void>;
  /** Digest of what was written so far. */
  digest(): Digest;
  /**
   * Ends the ingest and makes the blob durable and visible. `size` 0n and `expected` undefined are not checked.
   * The writer is closed whatever the outcome.
   * @throws already-exists when the namespace has the blob (the ingest is removed), failed-precondition on a size or
   * digest mismatch (the ingest stays and can be opened again, as in containerd).
   */
  commit(size: bigint, expected: Digest | undefined, labels?: Labels): Promise<Digest>;
  close(): Promise<void>;
}

/** A content store as seen from one namespace. */
export interface ContentStore {
  /** @throws not-found */
  info(call: NamespacedCall, digest: Digest): Promise<ContentInfo>;
  /** Changes labels; `fields` as in {@link ../fieldmask.ts}: `labels`, `labels.KEY`; empty = labels. @throws not-found */
  update(
    call: NamespacedCall,
    digest: Digest,
    labels: Labels,
    fields: readonly string[],
  ): Promise<ContentInfo>;
  /** Visits every blob that matches any of the filters (none = all), in digest order. */
  walk(call: NamespacedCall, filters: readonly string[]): AsyncIterable<ContentInfo>;
  /** Removes the blob from the namespace; bytes go when nothing else uses them. @throws not-found */
  delete(call: NamespacedCall, digest: Digest): Promise<void>;
  /** @throws not-found */
  reader(call: NamespacedCall, digest: Digest): Promise<BlobReader>;
  /** @throws not-found */
  status(call: NamespacedCall, ref: string): Promise<IngestStatus>;
  statuses(call: NamespacedCall, filters: readonly string[]): Promise<IngestStatus[]>;
  /** Removes an ingest. @throws not-found */
  abort(call: NamespacedCall, ref: string): Promise<void>;
  /** Opens or resumes an ingest. @throws already-exists, unavailable (ref locked) */
  writer(call: NamespacedCall, options: WriterOptions): Promise<ContentWriter>;
}

/**
 * What the daemon's own pull uses besides {@link ContentStore}: the place of an ingest's data file, so that a helper
 * process can write it while hashing. Only the local store has it.
 */
export interface LocalContentStore extends ContentStore {
  /** Absolute path of a blob's file. @throws not-found */
  blobPath(call: NamespacedCall, digest: Digest): Promise<string>;
  /** Opens an ingest whose bytes another process writes to `path`; `adopt` commits what it reports. */
  externalWriter(call: NamespacedCall, options: WriterOptions): Promise<ExternalWriter>;
  /** Tells when somebody begins to write a layer (an ingest with a client's name for one): it may be unpacked soon. */
  onLayer?(listener: () => void): void;
}

/** An ingest written by another process. */
export interface ExternalWriter extends AsyncDisposable {
  /** File to append to; starts at `offset`. */
  readonly path: string;
  readonly offset: bigint;
  /** Tells progress for `status`. */
  progress(offset: bigint): void;
  /** Commits a file whose size and digest the (trusted, ours) writer computed. Same errors as ContentWriter.commit. */
  adopt(size: bigint, digest: Digest, expected: Digest | undefined, labels?: Labels): Promise<Digest>;
  abort(): Promise<void>;
}
