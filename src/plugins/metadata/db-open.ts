/**
 * Opens the file of the metadata database, whatever state it is in: a damaged one is set aside and what can be read of it is
 * copied into a new one.
 */
import type { FileHandle } from "node:fs/promises";
import { mkdir, open, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { dataLoss, GantryError, messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { syncDir } from "../../platform/fs/atomic-write.ts";
import { rescue } from "./rescue.ts";
import { ADDED_COLUMNS, SCHEMA } from "./schema.ts";
import { checkSchemaVersion, writeSchemaVersion } from "./schema-version.ts";

/** How to open the database. */
export interface DatabaseOptions {
  /** `.../meta.sqlite`; the marker and the reserve file lie beside it. */
  readonly path: string;
  readonly log: Logger;
  /** True answers commits before they are on disk (`no_sync`). */
  readonly noSync?: boolean | undefined;
}

/** Our own descriptors of the database's files, to sync them by. Kept open: closing one would drop SQLite's locks. */
export interface DatabaseFiles {
  readonly file: FileHandle;
  /** The write-ahead log. */
  readonly wal: FileHandle;
}

/** A database that is ready for use. */
export interface OpenedDatabase {
  readonly db: DatabaseSync;
  readonly files: DatabaseFiles;
  /** True when the last daemon did not stop cleanly. */
  readonly unclean: boolean;
  /** True when the file, now or once before, was damaged and begun anew. */
  readonly rescued: boolean;
}

/** A file that is there while a daemon has the database open. */
export function markerOf(path: string): string {
  return `${path}.open`;
}

/**
 * Opens or makes the database with the tables of this program.
 * @throws failed-precondition when the file is a newer program's
 */
export async function openDatabase(options: DatabaseOptions): Promise<OpenedDatabase> {
  const { path } = options;
  const { DatabaseSync } = await import("node:sqlite");
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // SQLite gives its log the mode of the database
  await (await open(path, "a", 0o600)).close();
  const unclean = await exists(markerOf(path));
  let db: DatabaseSync;
  try {
    db = connect(DatabaseSync, path, unclean);
  } catch (err) {
    if (err instanceof GantryError && err.code === "failed-precondition") throw err;
    db = await beginAnew(DatabaseSync, options, err);
  }
  const rescued = db.prepare("SELECT 1 FROM facts WHERE name = 'rescued'").get() !== undefined;
  await (await open(markerOf(path), "w", 0o600)).close();
  const file = await open(path, "r+");
  const wal = await open(`${path}-wal`, "r+");
  await file.sync();
  await syncDir(dirname(path));
  return { db, files: { file, wal }, unclean, rescued };
}

/** Renames a damaged database aside and saves what it can into a new one, which remembers that it was rescued. */
async function beginAnew(
  Sqlite: typeof DatabaseSync,
  { path, log }: DatabaseOptions,
  damage: unknown,
): Promise<DatabaseSync> {
  const aside = `${path}.damaged-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  for (const suffix of ["", "-wal", "-shm"]) {
    if (await exists(path + suffix)) await rename(path + suffix, aside + suffix);
  }
  const db = connect(Sqlite, path, false);
  const saved = rescue(Sqlite, aside, db);
  log.error("metadata database is damaged: set aside and begun anew with what could be read", {
    err: messageOf(damage),
    damaged: aside,
    saved,
  });
  db.prepare("INSERT OR REPLACE INTO facts(name, value) VALUES('rescued', ?)").run(aside);
  return db;
}

/** @param check looks through the whole file first @throws data-loss when it is damaged */
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

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
