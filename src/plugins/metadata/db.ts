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
import type { FileHandle } from "node:fs/promises";
import { mkdir, open, rename, rm, stat, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers";
import {
  dataLoss,
  diskFull,
  GantryError,
  internal,
  messageOf,
  resourceExhausted,
} from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { nowNs } from "../../lib/time.ts";
import { preallocate, preallocateFd } from "../../platform/fs/preallocate.ts";
import { isBun } from "../../platform/runtime.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { GroupSync } from "./group-sync.ts";
import { rescue } from "./rescue.ts";
import { ADDED_COLUMNS, SCHEMA, type Table } from "./schema.ts";
import { checkSchemaVersion, writeSchemaVersion } from "./schema-version.ts";

/** A row as SQLite gives it; integers are bigint. */
export type Row = Readonly<Record<string, SQLOutputValue>>;
export type { SQLInputValue };

/** How to open the database. */
export interface DatabaseOptions {
  /** `.../meta.sqlite`; the marker and the reserve file lie beside it. */
  readonly path: string;
  readonly log: Logger;
  /** True answers commits before they are on disk (`no_sync`). */
  readonly noSync?: boolean | undefined;
}

/** Log size in bytes at which a checkpoint runs. */
const CHECKPOINT_BYTES = 4 << 20;
/** A smaller log is checkpointed when nothing was written for this long, in ms. */
const IDLE_MS = 15_000;
/** Space kept back so that deleting still works on a full disk. */
const RESERVE_BYTES = 1 << 20;
/**
 * Set aside for the log, and for the database to grow into, after each checkpoint: small records, and above all deletions,
 * then find room on a full disk, whoever else takes what the reserve gave up.
 */
const ROOM_BYTES = 1 << 20;

/** See the head of this file. */
export class Database {
  readonly #db: DatabaseSync;
  readonly #options: DatabaseOptions;
  readonly #file: FileHandle;
  readonly #wal: FileHandle;
  readonly #sync: GroupSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #undecided = new Set<string>();
  #gate: Promise<void> | undefined;
  #checkpointing: Promise<void> | undefined;
  #idle: NodeJS.Timeout | undefined;
  #measuring = false;
  #reserved = false;
  #failed: unknown;
  #closed = false;
  /** True when the last daemon did not stop cleanly. */
  readonly unclean: boolean;
  /** True when a damaged database was set aside: rows may be missing, so files without rows must be kept. */
  readonly rescued: boolean;

  private constructor(
    db: DatabaseSync,
    options: DatabaseOptions,
    files: { file: FileHandle; wal: FileHandle },
    state: { unclean: boolean; rescued: boolean },
  ) {
    this.#db = db;
    this.#options = options;
    this.#file = files.file;
    this.#wal = files.wal;
    this.unclean = state.unclean;
    this.rescued = state.rescued;
    this.#sync = new GroupSync(async () => {
      if (this.#options.noSync !== true) await this.#wal.datasync();
      this.#measureLog();
    });
  }

  /**
   * Opens or makes the database. A damaged one is renamed aside, what can be read of it is copied into a new one, and the
   * log says so: a broken file never stops the daemon.
   */
  static async open(options: DatabaseOptions): Promise<Database> {
    const { path, log } = options;
    const { DatabaseSync } = await import("node:sqlite");
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    // SQLite gives its log the mode of the database
    await (await open(path, "a", 0o600)).close();
    const marker = `${path}.open`;
    const unclean = await exists(marker);
    let db: DatabaseSync;
    let rescued = false;
    try {
      db = connect(DatabaseSync, path, unclean);
    } catch (err) {
      if (err instanceof GantryError && err.code === "failed-precondition") throw err;
      const aside = `${path}.damaged-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
      for (const suffix of ["", "-wal", "-shm"]) {
        if (await exists(path + suffix)) await rename(path + suffix, aside + suffix);
      }
      db = connect(DatabaseSync, path, false);
      const saved = rescue(DatabaseSync, aside, db);
      rescued = true;
      log.error("metadata database is damaged: set aside and begun anew with what could be read", {
        err: messageOf(err),
        damaged: aside,
        saved,
      });
      db.prepare("INSERT OR REPLACE INTO facts(name, value) VALUES('rescued', ?)").run(aside);
    }
    rescued ||= db.prepare("SELECT 1 FROM facts WHERE name = 'rescued'").get() !== undefined;
    await (await open(marker, "w", 0o600)).close();
    // opened once and kept: closing any descriptor of the file would drop SQLite's own locks on it
    const file = await open(path, "r+");
    const wal = await open(`${path}-wal`, "r+");
    await file.sync();
    await syncFolder(dirname(path));
    const made = new Database(db, options, { file, wal }, { unclean, rescued });
    made.#setAside((await file.stat()).size);
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
    while (this.#gate !== undefined) await this.#gate;
    const result = await this.#withRoom(() => this.#transaction(body), how.frees === true);
    this.#armIdle();
    if (how.durable === false) return result;
    await this.#sync.wait();
    return result;
  }

  /** Runs a transaction; on a full disk again with the log folded in, and again, when it `frees`, with the reserve. */
  async #withRoom<T>(transaction: () => T, frees: boolean): Promise<T> {
    const room = [() => this.#foldLog(), () => (frees ? this.#freeReserve() : Promise.resolve(false))];
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
        while (this.#gate !== undefined) await this.#gate;
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

  /** Copies the log into the database now. */
  async checkpoint(): Promise<void> {
    this.#checkpointing ??= this.#runCheckpoint().finally(() => {
      this.#checkpointing = undefined;
    });
    await this.#checkpointing;
  }

  /** Ends cleanly: everything durable and in one file. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#idle);
    if (this.#failed === undefined) await this.checkpoint();
    this.#statements.clear();
    this.#db.close();
    await this.#wal.close();
    await this.#file.sync();
    await this.#file.close();
    await rm(`${this.#options.path}.open`, { force: true });
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
    if (this.#failed !== undefined)
      throw internal("write metadata: the database could not be made durable before", {
        cause: this.#failed,
      });
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

  /** Moves a record that cannot be read to the table `quarantine`, whole, with the reason. */
  quarantine(table: Table, row: Row, reason: string): void {
    const key = row["rowid"];
    const name = `${table} ${String(key)}`;
    if ((typeof key !== "bigint" && typeof key !== "string") || this.#undecided.has(name)) return;
    this.#undecided.add(name);
    this.#options.log.error("metadata record is damaged: moved to quarantine", {
      table,
      rowid: String(key),
      reason,
    });
    void this.write(() => {
      const whole = this.get(`SELECT rowid, * FROM ${table} WHERE rowid = ?`, key) ?? row;
      const record = JSON.stringify(whole, (_, v: unknown) =>
        typeof v === "bigint" ? String(v) : v instanceof Uint8Array ? Buffer.from(v).toString("base64") : v,
      );
      this.run(
        "INSERT INTO quarantine(tbl, record, reason, at) VALUES(?, ?, ?, ?)",
        table,
        record,
        reason,
        nowNs(),
      );
      this.run(`DELETE FROM ${table} WHERE rowid = ?`, key);
    })
      .catch((err: unknown) => this.#options.log.error("quarantine of a damaged record failed", { err }))
      .finally(() => this.#undecided.delete(name));
  }

  /** Starts a checkpoint when the log is long. Those who wait for a flush do not wait for this. */
  #measureLog(): void {
    if (this.#measuring || this.#closed) return;
    this.#measuring = true;
    const measure = async (): Promise<void> => {
      try {
        const { size } = await this.#wal.stat();
        if (size > CHECKPOINT_BYTES && !this.#closed) this.#startCheckpoint();
      } catch {
        // closed meanwhile, or a disk that fails: the next flush tells
      } finally {
        this.#measuring = false;
      }
    };
    void measure();
  }

  #startCheckpoint(): void {
    void this.checkpoint().catch((err: unknown) =>
      this.#options.log.error("checkpoint of the metadata database failed", { err: messageOf(err) }),
    );
  }

  async #runCheckpoint(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gate = promise;
    try {
      await this.#datasync(this.#wal);
      this.#db.exec("PRAGMA wal_checkpoint(PASSIVE)");
      await this.#datasync(this.#file);
      const { size } = await this.#file.stat();
      this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      // at once: on a full disk others wait for what this gave up
      this.#setAside(size);
      await this.#datasync(this.#wal);
      await this.keepReserve();
    } finally {
      this.#gate = undefined;
      resolve();
    }
  }

  async #datasync(file: FileHandle): Promise<void> {
    if (this.#options.noSync === true) return;
    try {
      await file.datasync();
    } catch (err) {
      // after a failed sync the kernel may have dropped the pages: nothing written since is certain any more
      this.#failed = err;
      throw err;
    }
  }

  /** After a while without writes the log is folded in, so that a restart finds a small one. */
  #armIdle(): void {
    if (this.#idle !== undefined) {
      this.#idle.refresh();
      return;
    }
    this.#idle = delay(() => {
      this.#idle = undefined;
      if (!this.#closed) this.#startCheckpoint();
    }, IDLE_MS);
    this.#idle.unref();
  }

  /** Keeps room for the log and the database; a disk that is full now, or a file system that cannot, is no failure. */
  #setAside(size: number): void {
    try {
      preallocate(`${this.#options.path}-wal`, ROOM_BYTES);
      // not by name: closing another descriptor of the database would drop SQLite's locks; Deno's numbers are its own
      if (isBun) preallocateFd(this.#file.fd, size + ROOM_BYTES);
    } catch (err) {
      if (!isErrno(err, "ENOSPC", "EDQUOT", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL")) throw err;
    }
  }

  /** Sets the reserve file aside when there is none. */
  async keepReserve(): Promise<void> {
    if (this.#reserved || this.#closed) return;
    try {
      const file = await open(`${this.#options.path}.reserve`, "w", 0o600);
      try {
        await file.write(Buffer.alloc(RESERVE_BYTES, 1));
        await file.datasync();
        this.#reserved = true;
      } finally {
        await file.close();
      }
    } catch {
      // no room: the next checkpoint tries again
      await rm(`${this.#options.path}.reserve`, { force: true }).catch(() => {});
    }
  }

  async #freeReserve(): Promise<boolean> {
    this.#reserved = false;
    return await truncate(`${this.#options.path}.reserve`, 0).then(
      () => true,
      () => false,
    );
  }
}

function connect(Sqlite: typeof DatabaseSync, path: string, check: boolean): DatabaseSync {
  const db = new Sqlite(path);
  try {
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0");
    if (check) {
      const verdict = Object.values(db.prepare("PRAGMA quick_check(1)").get() ?? {})[0];
      if (verdict !== "ok") throw dataLoss(`check "${path}": ${String(verdict)}`);
    }
    const found = checkSchemaVersion(db, path);
    db.exec(SCHEMA);
    for (const { table, name, type } of ADDED_COLUMNS) {
      if (db.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?").get(table, name) === undefined)
        db.exec(`ALTER TABLE ${table} ADD COLUMN ${name} ${type}`);
    }
    writeSchemaVersion(db, found);
    return db;
  } catch (err) {
    db.close();
    throw err;
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

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

/** Makes the entries of a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
