/**
 * Copies the write-ahead log into the database from time to time: when it is long, when nothing was written for a while,
 * on request. In which order what is synced, and why, is at the head of db.ts.
 */
import type { FileHandle } from "node:fs/promises";
import type { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers";
import { type GantryError, internal, messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { DatabaseFiles } from "./db-open.ts";
import type { DiskRoom } from "./disk-room.ts";

/** Log size in bytes at which a checkpoint runs. */
const CHECKPOINT_BYTES = 4 << 20;
/** A smaller log is checkpointed when nothing was written for this long, in ms. */
const IDLE_MS = 15_000;

/** The error of all that comes after a failed sync. */
export function notDurable(cause: unknown): GantryError {
  return internal(`write metadata: the database could not be made durable: ${messageOf(cause)}`, {
    cause,
    hint: "look for errors of the disk in the kernel's log (dmesg); then restart the daemon, which goes on from what is on disk",
  });
}

/** What checkpoints work on. */
export interface CheckpointParts {
  readonly db: DatabaseSync;
  readonly files: DatabaseFiles;
  readonly room: DiskRoom;
  readonly log: Logger;
  readonly noSync: boolean;
}

/** See the head of this file. */
export class Checkpoints {
  readonly #parts: CheckpointParts;
  #gate: Promise<void> | undefined;
  #running: Promise<void> | undefined;
  #idle: NodeJS.Timeout | undefined;
  #measuring = false;
  #stopped = false;
  #failure: unknown;

  constructor(parts: CheckpointParts) {
    this.#parts = parts;
  }

  /** While a checkpoint runs: transactions wait for this. Look again afterwards. */
  get gate(): Promise<void> | undefined {
    return this.#gate;
  }

  /** Why nothing written since can be trusted to be on disk; undefined while all is well. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Runs one now; callers of the same time share it. */
  async run(): Promise<void> {
    this.#running ??= this.#checkpoint().finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  /** Tells of a transaction: after a while without any, the log is folded in, so that a restart finds a small one. */
  afterWrite(): void {
    if (this.#idle !== undefined) {
      this.#idle.refresh();
      return;
    }
    this.#idle = delay(() => {
      this.#idle = undefined;
      if (!this.#stopped) this.#start();
    }, IDLE_MS);
    this.#idle.unref();
  }

  /** Tells of a flush: a checkpoint starts when the log is long. Those who wait for the flush do not wait for this. */
  afterFlush(): void {
    if (this.#measuring || this.#stopped) return;
    this.#measuring = true;
    void this.#measure();
  }

  /** None begin by themselves any more; {@link run} still works. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#idle);
  }

  async #measure(): Promise<void> {
    try {
      const { size } = await this.#parts.files.wal.stat();
      if (size > CHECKPOINT_BYTES && !this.#stopped) this.#start();
    } catch {
      // closed meanwhile, or a disk that fails: the next flush tells
    } finally {
      this.#measuring = false;
    }
  }

  #start(): void {
    void this.run().catch((err: unknown) =>
      this.#parts.log.error("checkpoint of the metadata database failed", { err: messageOf(err) }),
    );
  }

  async #checkpoint(): Promise<void> {
    const { db, files, room } = this.#parts;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gate = promise;
    try {
      await this.datasync(files.wal);
      db.exec("PRAGMA wal_checkpoint(PASSIVE)");
      await this.datasync(files.file);
      const { size } = await files.file.stat();
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      // at once: on a full disk others wait for what this gave up
      room.setAside(size);
      await this.datasync(files.wal);
      if (!this.#stopped) await room.keepReserve();
    } finally {
      this.#gate = undefined;
      resolve();
    }
  }

  /** Makes a file of the database durable. @throws internal; from then on nothing is written any more */
  async datasync(file: FileHandle): Promise<void> {
    if (this.#parts.noSync) return;
    try {
      await file.datasync();
    } catch (err) {
      // the kernel may have dropped the pages, and tells of that once: the next sync would succeed without them
      this.#failure ??= err;
      throw notDurable(err);
    }
  }
}
