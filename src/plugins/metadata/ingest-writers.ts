/** Open ingests: written by us ({@link IngestWriter}) or by a helper process ({@link ExternalIngest}). */
import { copyFile, stat } from "node:fs/promises";
import type { Labels, TimeNs } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentWriter, ExternalWriter, IngestStatus } from "../../core/content/content.ts";
import { failedPrecondition, outOfRange } from "../../core/errors.ts";
import type { Digest } from "../../core/ids/digest.ts";
import { noLabels } from "../../core/labels.ts";
import { nowNs } from "../../lib/time.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import type { BlobFiles } from "./blob-files.ts";
import type { NewBlob } from "./blobs.ts";
import type { StoreContext } from "./context.ts";
import { IngestFile } from "./ingest-file.ts";

/** An ingest's row. */
export interface Ingest {
  readonly id: bigint;
  readonly namespace: string;
  readonly ref: string;
  /** Announced size in bytes, 0n when unknown. */
  readonly total: bigint;
  readonly expected: Digest | undefined;
  /** Blob of another namespace that this ingest stands for until something is written. */
  readonly shared: Digest | undefined;
  readonly startedAt: TimeNs;
  readonly updatedAt: TimeNs;
  /** True when it was made just now. */
  readonly fresh: boolean;
}

/** What an open ingest needs of the store. */
export interface IngestOwner {
  readonly context: StoreContext;
  readonly files: BlobFiles;
  /** Frees the ref. */
  release(ingest: Ingest): void;
  /** Removes row and files. */
  dropIngest(call: NamespacedCall, ingest: Ingest): Promise<void>;
  /**
   * Makes the blob visible: `place` puts its file in place when the namespace does not have it yet, then the row is
   * written and the ingest's row removed. @throws already-exists when the namespace has it
   */
  record(call: NamespacedCall, ingest: Ingest, blob: NewBlob, place: () => Promise<void>): Promise<void>;
}

/** What both writers do alike. */
abstract class OpenIngest implements AsyncDisposable {
  protected readonly owner: IngestOwner;
  protected readonly call: NamespacedCall;
  protected readonly ingest: Ingest;
  protected updatedAt: TimeNs;
  #open = true;

  constructor(owner: IngestOwner, call: NamespacedCall, ingest: Ingest) {
    this.owner = owner;
    this.call = call;
    this.ingest = ingest;
    this.updatedAt = ingest.updatedAt;
  }

  protected abstract get offset(): bigint;
  protected abstract get total(): bigint;
  protected abstract closeFile(resume: boolean): Promise<void>;

  status(): IngestStatus {
    return {
      ref: this.ingest.ref,
      offset: this.offset,
      total: this.total,
      expected: this.ingest.expected,
      startedAt: this.ingest.startedAt,
      updatedAt: this.updatedAt,
    };
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    const { db } = this.owner.context;
    const { id } = this.ingest;
    await this.shut(true);
    await db.write(
      () => db.run("UPDATE ingests SET updated = ?, total = ? WHERE id = ?", this.updatedAt, this.total, id),
      { durable: false },
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Closes and frees the ref, without touching the row. */
  protected async shut(resume: boolean): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    try {
      await this.closeFile(resume);
    } finally {
      this.owner.release(this.ingest);
    }
  }

  protected requireOpen(what: string): void {
    if (!this.#open) throw failedPrecondition(`cannot ${what} on closed writer`);
  }

  /** Checks what was written against what is wanted; on a mismatch the ingest stays for another try. */
  protected async check(
    size: bigint,
    digest: Digest,
    wantSize: bigint,
    want: Digest | undefined,
  ): Promise<void> {
    let problem: string | undefined;
    if (wantSize > 0n && size !== wantSize) problem = `unexpected commit size ${size}, expected ${wantSize}`;
    else if (want !== undefined && want !== digest)
      problem = `unexpected commit digest ${digest}, expected ${want}`;
    if (problem === undefined) return;
    await this.close();
    throw failedPrecondition(problem);
  }
}

/** Writes an ingest from this process. */
export class IngestWriter extends OpenIngest implements ContentWriter {
  #file: IngestFile | undefined;
  #total: bigint;
  #committed: { readonly digest: Digest; readonly size: bigint } | undefined;

  private constructor(
    owner: IngestOwner,
    call: NamespacedCall,
    ingest: Ingest,
    file: IngestFile | undefined,
  ) {
    super(owner, call, ingest);
    this.#file = file;
    this.#total = ingest.total;
  }

  /** Opens or resumes. */
  static async open(owner: IngestOwner, call: NamespacedCall, ingest: Ingest): Promise<IngestWriter> {
    if (ingest.shared !== undefined) return new IngestWriter(owner, call, ingest, undefined);
    return new IngestWriter(owner, call, ingest, await openFile(owner, ingest));
  }

  digest(): Digest {
    const fixed = this.#committed?.digest ?? (this.#file === undefined ? this.ingest.shared : undefined);
    return fixed ?? (this.#file?.digest() as Digest);
  }

  async write(data: Uint8Array): Promise<void> {
    this.requireOpen("write");
    if (data.length === 0) return;
    const file = this.#file ?? (await this.#unshare(true));
    await file.write(data);
    this.updatedAt = nowNs();
  }

  async truncate(size: bigint): Promise<void> {
    this.requireOpen("truncate");
    if (size > this.offset || size < 0n)
      throw outOfRange(`truncate to ${size}: the ingest has ${this.offset} bytes`);
    const file = this.#file ?? (await this.#unshare(size > 0n));
    await file.truncate(Number(size));
    this.updatedAt = nowNs();
  }

  async commit(size: bigint, expected: Digest | undefined, labels: Labels = noLabels): Promise<Digest> {
    this.requireOpen("commit");
    const blob = { digest: this.digest(), size: this.offset, labels };
    await this.check(blob.size, blob.digest, size, expected);
    this.#committed = blob;
    try {
      const file = this.#file;
      await file?.close(false);
      await this.owner.record(this.call, this.ingest, blob, async () => {
        if (file !== undefined) await this.owner.files.promote(this.ingest.id, blob.digest);
        else if ((await this.owner.files.stat(blob.digest)) === undefined)
          throw failedPrecondition(`content ${blob.digest}: the shared blob is gone`);
      });
    } finally {
      await this.shut(false);
    }
    return blob.digest;
  }

  protected override get offset(): bigint {
    return this.#committed?.size ?? this.#file?.offset ?? this.ingest.total;
  }

  protected override get total(): bigint {
    return this.#total;
  }

  protected override async closeFile(resume: boolean): Promise<void> {
    if (this.#committed === undefined) await this.#file?.close(resume);
  }

  /** Turns an ingest that stood for a shared blob into one of its own. */
  async #unshare(copy: boolean): Promise<IngestFile> {
    const { files, context } = this.owner;
    await files.makeIngest(this.ingest.id);
    if (copy && this.ingest.shared !== undefined) await files.ensure(this.ingest.shared);
    if (copy && this.ingest.shared !== undefined)
      await copyFile(files.blob(this.ingest.shared), files.data(this.ingest.id));
    const file = await IngestFile.open(files.data(this.ingest.id));
    await context.db.write(
      () => context.db.run("UPDATE ingests SET shared = NULL WHERE id = ?", this.ingest.id),
      { durable: false },
    );
    this.#file = file;
    return file;
  }
}

/** An ingest whose bytes a helper process writes and hashes. */
export class ExternalIngest extends OpenIngest implements ExternalWriter {
  readonly path: string;
  readonly #start: bigint;
  #offset: bigint;

  private constructor(owner: IngestOwner, call: NamespacedCall, ingest: Ingest, offset: bigint) {
    super(owner, call, ingest);
    this.path = owner.files.data(ingest.id);
    this.#start = offset;
    this.#offset = offset;
  }

  /** Opens or resumes. */
  static async open(owner: IngestOwner, call: NamespacedCall, ingest: Ingest): Promise<ExternalIngest> {
    const file = await openFile(owner, ingest);
    await file.close(true);
    return new ExternalIngest(owner, call, ingest, file.offset);
  }

  /** Bytes that were there when it was opened. */
  override get offset(): bigint {
    return this.#start;
  }

  override status(): IngestStatus {
    return { ...super.status(), offset: this.#offset };
  }

  progress(offset: bigint): void {
    this.#offset = offset;
    this.updatedAt = nowNs();
  }

  async adopt(
    size: bigint,
    digest: Digest,
    expected: Digest | undefined,
    labels: Labels = noLabels,
  ): Promise<Digest> {
    this.requireOpen("commit");
    await this.check(size, digest, this.ingest.total, expected ?? this.ingest.expected);
    const actual = BigInt((await stat(this.path)).size);
    if (actual !== size) {
      await this.close();
      throw failedPrecondition(`unexpected commit size ${actual}, expected ${size}`);
    }
    try {
      await this.owner.record(this.call, this.ingest, { digest, size, labels }, () =>
        this.owner.files.promote(this.ingest.id, digest),
      );
    } finally {
      await this.shut(false);
    }
    return digest;
  }

  async abort(): Promise<void> {
    await this.shut(false);
    await this.owner.dropIngest(this.call, this.ingest);
  }

  protected override get total(): bigint {
    return this.ingest.total;
  }

  protected override async closeFile(): Promise<void> {}
}

async function openFile(owner: IngestOwner, ingest: Ingest): Promise<IngestFile> {
  if (ingest.fresh) await owner.files.makeIngest(ingest.id);
  try {
    return await IngestFile.open(owner.files.data(ingest.id));
  } catch (err) {
    if (!isErrno(err, "ENOENT")) throw err;
    // the folder was lost with the machine before it was synced
    await owner.files.makeIngest(ingest.id);
    return await IngestFile.open(owner.files.data(ingest.id));
  }
}
