/**
 * The metadata database: SQLite with a write-ahead log, used from the main thread only through short statements.
 *
 * Durability without blocking the loop. SQLite itself never syncs (`synchronous=OFF`); this class orders the writes:
 *   commit      a transaction goes to the log; the caller waits for one asynchronous fdatasync of the log, shared by all
 *               callers of that moment. An RPC is answered only afterwards.
 *   checkpoint  under a gate that holds back new transactions: sync the log, copy it into the database, sync the
 *               database, cut the log to nothing, sync that. At no time is the only copy of a page unsynced, so a power cut
 *               at any point leaves a database that recovers to the last answered commit (as `synchronous=FULL` would).
 * Reading never waits.
 */
import { rm } from "node:fs/promises";
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import {
  dataLoss,
  diskFull,
  GantryError,
  internal,
  messageOf,
  resourceExhausted,
} from "../../core/errors.ts";
import { Checkpoints, notDurable } from "./checkpoints.ts";
import {
  type DatabaseFiles,
  type DatabaseOptions,
  markerOf,
  type OpenedDatabase,
  openDatabase,
} from "./db-open.ts";
import { DiskRoom } from "./disk-room.ts";
import { GroupSync } from "./group-sync.ts";
import { Quarantine } from "./quarantine.ts";
import type { Row } from "./rows.ts";
import type { Table } from "./schema.ts";

/** See the head of this file. */
export class Database {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #files: DatabaseFiles;
  readonly #room: DiskRoom;
  readonly #sync: GroupSync;
  readonly #checkpoints: Checkpoints;
  readonly #quarantine: Quarantine;
  readonly #statements = new Map<string, StatementSync>();
  #closed = false;
  /** True when the last daemon did not stop cleanly. */
  readonly unclean: boolean;
  /** True when a damaged database was set aside: rows may be missing, so files without rows must be kept. */
  readonly rescued: boolean;

  private constructor(opened: OpenedDatabase, { path, log, noSync = false }: DatabaseOptions) {
    const { db, files } = opened;
    this.#db = db;
    this.#path = path;
    this.#files = files;
    this.unclean = opened.unclean;
    this.rescued = opened.rescued;
    const room = new DiskRoom(path, files.file);
    const checkpoints = new Checkpoints({ db, files, room, log, noSync });
    this.#room = room;
    this.#checkpoints = checkpoints;
    this.#quarantine = new Quarantine(this, log);
    this.#sync = new GroupSync(async () => {
      await checkpoints.datasync(files.wal);
      checkpoints.afterFlush();
    });
  }

  /**
   * Opens or makes the database. A damaged one is renamed aside, what can be read of it is copied into a new one, and the
   * log says so: a broken file never stops the daemon.
   */
  static async open(options: DatabaseOptions): Promise<Database> {
    const opened = await openDatabase(options);
    const made = new Database(opened, options);
    made.#room.setAside((await opened.files.file.stat()).size);
    return made;
  }

  /** All rows of a query. Statements are kept prepared by their text. */
  all(sql: string, ...params: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...params) as Row[];
  }

  /** The first row of a query. */
  get(sql: string, ...params: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...params) as Row | undefined;
  }

  /** Runs a statement; inside {@link write} only. */
  run(sql: string, ...params: SQLInputValue[]): { changes: number; id: bigint } {
    const { changes, lastInsertRowid } = this.#statement(sql).run(...params);
    return { changes: Number(changes), id: BigInt(lastInsertRowid) };
  }

  /**
   * Runs `body` in a transaction and resolves when it is durable. A throw rolls back. `body` must not wait.
   * `frees` marks a transaction that gives space back: on a full disk it may use the reserve.
   * `durable: false` resolves at commit, for records that may be lost with the machine.
   */
  async write<T>(body: () => T, how: { frees?: boolean; durable?: boolean } = {}): Promise<T> {
    const checkpoints = this.#checkpoints;
    while (checkpoints.gate !== undefined) await checkpoints.gate;
    const result = await this.#withRoom(() => this.#transaction(body), how.frees === true);
    checkpoints.afterWrite();
    if (how.durable === false) return result;
    await this.#sync.wait();
    return result;
  }

  /** Runs a transaction; on a full disk again with the log folded in, and again, when it `frees`, with the reserve. */
  async #withRoom<T>(transaction: () => T, frees: boolean): Promise<T> {
    const room = [() => this.#foldLog(), () => (frees ? this.#room.freeReserve() : Promise.resolve(false))];
    for (;;) {
      try {
        return transaction();
      } catch (err) {
        if (!isFull(err)) throw err;
        let more = false;
        while (!more) {
          const make = room.shift();
          if (make === undefined) throw err;
          more = await make();
        }
        while (this.#checkpoints.gate !== undefined) await this.#checkpoints.gate;
      }
    }
  }

  /** Gives the log's own space back to it. */
  async #foldLog(): Promise<boolean> {
    return await this.checkpoint().then(
      () => true,
      () => false,
    );
  }

  /** Resolves when everything committed so far is on disk. */
  flush(): Promise<void> {
    return this.#sync.wait();
  }

  /** Resolves when no client waits for the disk, or after what is being flushed now: background work begins behind it. */
  quiet(): Promise<void> {
    return this.#sync.current();
  }

  /**
   * Decodes rows; one that cannot be decoded is left out, and moved to the table `quarantine` with the reason, so that a
   * bad record is neither fatal nor lost. Rows need their key in `rowid`.
   */
  decode<T>(table: Table, rows: readonly Row[], decode: (row: Row) => T): T[] {
    const out: T[] = [];
    for (const row of rows) {
      try {
        out.push(decode(row));
      } catch (err) {
        this.quarantine(table, row, messageOf(err));
      }
    }
    return out;
  }

  /** The same for one row. @throws data-loss when it is bad */
  decodeOne<T>(table: Table, row: Row, decode: (row: Row) => T): T {
    const [value] = this.decode(table, [row], decode);
    if (value === undefined)
      throw dataLoss(`read a record of table "${table}": damaged, moved to quarantine`);
    return value;
  }

  /** Moves a record that cannot be read to the table `quarantine`, in the background. */
  quarantine(table: Table, row: Row, reason: string): void {
    this.#quarantine.move(table, row, reason);
  }

  /** Copies the log into the database now. */
  checkpoint(): Promise<void> {
    return this.#checkpoints.run();
  }

  /** Sets the reserve file aside when there is none. */
  async keepReserve(): Promise<void> {
    if (!this.#closed) await this.#room.keepReserve();
  }

  /** Ends cleanly: everything durable and in one file. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#checkpoints.stop();
    const durable = this.#checkpoints.failure === undefined;
    if (durable) await this.#checkpoints.run();
    this.#statements.clear();
    this.#db.close();
    await this.#files.wal.close();
    await this.#files.file.sync();
    await this.#files.file.close();
    // left there it has the next daemon look closely
    if (durable) await rm(markerOf(this.#path), { force: true });
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const made = this.#db.prepare(sql);
    made.setReadBigInts(true);
    this.#statements.set(sql, made);
    return made;
  }

  #transaction<T>(body: () => T): T {
    const cause = this.#checkpoints.failure;
    if (cause !== undefined) throw notDurable(cause);
    this.#statement("BEGIN IMMEDIATE").run();
    try {
      const result = body();
      this.#statement("COMMIT").run();
      return result;
    } catch (err) {
      try {
        this.#statement("ROLLBACK").run();
      } catch {
        // SQLite rolled back itself (full disk, I/O error)
      }
      throw err instanceof GantryError ? err : mapError(err);
    }
  }
}

function isFull(err: unknown): boolean {
  return err instanceof GantryError && err.code === "resource-exhausted";
}

function mapError(err: unknown): GantryError {
  const text = messageOf(err);
  if (/database or disk is full/.test(text)) return diskFull("write metadata", "ENOSPC", err);
  // also what SQLite says of a full disk when its index of the log cannot grow
  if (/disk I\/O error/.test(text))
    return resourceExhausted(`write metadata: ${text}`, {
      cause: err,
      hint: "free space on the file system of the root folder, and look for disk errors in the kernel's log",
    });
  if (/malformed|not a database/.test(text)) return dataLoss(`write metadata: ${text}`, { cause: err });
  return internal(`write metadata: ${text}`, { cause: err });
}
