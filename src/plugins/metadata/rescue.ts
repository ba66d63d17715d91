import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import { TABLES } from "./schema.ts";

/**
 * Copies what can be read of a damaged database into a new one: each table from the front until the first bad page, then
 * from the back. @returns rows saved per table
 */
export function rescue(Sqlite: typeof DatabaseSync, from: string, to: DatabaseSync): Record<string, number> {
  const saved: Record<string, number> = {};
  let source: DatabaseSync;
  try {
    pad(from);
    source = new Sqlite(from);
  } catch {
    // not even its beginning can be read; the caller's log line says that nothing was saved
    return saved;
  }
  try {
    for (const table of TABLES) {
      to.exec("BEGIN");
      saved[table] = copy(source, to, table, "ASC") + copy(source, to, table, "DESC");
      to.exec("COMMIT");
    }
  } finally {
    try {
      source.close();
    } catch {
      // nothing more to read from it
    }
  }
  return saved;
}

function copy(source: DatabaseSync, to: DatabaseSync, table: string, order: "ASC" | "DESC"): number {
  // the damaged file may be of an older program, or of a newer one
  const there = columnsOf(source, table);
  const columns = columnsOf(to, table).filter((name) => there.includes(name));
  if (columns.length === 0) return 0;
  let count = 0;
  try {
    const insert = to.prepare(
      `INSERT OR IGNORE INTO ${table}(${columns.join(", ")}) VALUES(${columns.map(() => "?").join(", ")})`,
    );
    const select = source.prepare(
      `SELECT ${columns.join(", ")} FROM ${table} NOT INDEXED ORDER BY rowid ${order}`,
    );
    select.setReadBigInts(true);
    for (const row of select.iterate()) {
      const { changes } = insert.run(...columns.map((name) => row[name] as SQLInputValue));
      // from the back: the first row that is there already is where the way from the front ended
      if (Number(changes) === 0 && order === "DESC") break;
      count += Number(changes);
    }
  } catch {
    // a bad page, or the table itself cannot be found: the rest of it is lost
  }
  return count;
}

/** Names of the columns; none when the file's schema cannot be read. */
function columnsOf(db: DatabaseSync, table: string): string[] {
  try {
    const rows = db.prepare(`SELECT name FROM pragma_table_info('${table}')`).all();
    return rows.map((row) => String(row["name"]));
  } catch {
    return [];
  }
}

/** Gives a file that was cut short the length its header names (with zeros): SQLite reads nothing of it otherwise. */
function pad(path: string): void {
  const fd = openSync(path, "r+");
  try {
    const header = Buffer.alloc(100);
    if (readSync(fd, header, 0, 100, 0) < 100 || !header.toString("latin1").startsWith("SQLite format 3"))
      return;
    const stored = header.readUInt16BE(16);
    const length = (stored === 1 ? 65_536 : stored) * header.readUInt32BE(28);
    // at most 64 MiB are made up: a bigger difference is a damaged header
    const missing = length - fstatSync(fd).size;
    if (missing > 0 && missing < 64 << 20) ftruncateSync(fd, length);
  } finally {
    closeSync(fd);
  }
}
