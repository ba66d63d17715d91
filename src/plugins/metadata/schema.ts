/**
 * Tables of the metadata database. All are rowid tables, so that a damaged file can be read row by row.
 *
 * Upgrades and downgrades share the file, so its changes follow a rule (schema-version.ts enforces the second half of it,
 * schema.test.ts the first):
 *   1. Tables and columns are only added. A new column has a default or may be NULL, and is listed in ADDED_COLUMNS; nothing
 *      is renamed, dropped, or given another meaning. Every INSERT names its columns, so that an older program's rows are
 *      whole. SCHEMA_VERSION grows by one.
 *   2. MIN_READER stays, unless an older program would do harm with what is now written. It may name the version before at
 *      most: whoever has just upgraded can always go back.
 *
 * Times are nanoseconds since the epoch. Labels are JSON objects. "target" holds what a descriptor has besides media
 * type, digest and size.
 */

/** Version of the tables, written into `PRAGMA user_version`. */
export const SCHEMA_VERSION = 1;
/** Oldest SCHEMA_VERSION of a program that may use a file of this one. Written into `facts`, where that program reads it. */
export const MIN_READER = 1;

/** Tables in the order a rescue copies them. */
export const TABLES = [
  "namespaces",
  "containers",
  "sandboxes",
  "images",
  "leases",
  "lease_resources",
  "blobs",
  "ingests",
  "snapshots",
] as const;

/** Name of a table. */
export type Table = (typeof TABLES)[number];

/** Statements that make what is missing. */
export const SCHEMA = `
CREATE TABLE IF NOT EXISTS namespaces(
  name TEXT PRIMARY KEY NOT NULL,
  labels TEXT NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS containers(
  rowid INTEGER PRIMARY KEY,
  ns TEXT NOT NULL, id TEXT NOT NULL, labels TEXT NOT NULL,
  image TEXT NOT NULL, runtime TEXT NOT NULL, runtime_options_url TEXT, runtime_options BLOB,
  spec_url TEXT, spec BLOB, snapshotter TEXT NOT NULL, snapshot_key TEXT NOT NULL,
  extensions TEXT NOT NULL, sandbox TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
  UNIQUE(ns, id));
CREATE TABLE IF NOT EXISTS sandboxes(
  rowid INTEGER PRIMARY KEY,
  ns TEXT NOT NULL, id TEXT NOT NULL, labels TEXT NOT NULL,
  runtime TEXT NOT NULL, runtime_options_url TEXT, runtime_options BLOB, spec_url TEXT, spec BLOB,
  extensions TEXT NOT NULL, sandboxer TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
  UNIQUE(ns, id));
CREATE TABLE IF NOT EXISTS images(
  rowid INTEGER PRIMARY KEY,
  ns TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL,
  media_type TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, target TEXT NOT NULL,
  created INTEGER NOT NULL, updated INTEGER NOT NULL,
  UNIQUE(ns, name));
CREATE TABLE IF NOT EXISTS leases(
  rowid INTEGER PRIMARY KEY,
  ns TEXT NOT NULL, id TEXT NOT NULL, labels TEXT NOT NULL, created INTEGER NOT NULL,
  UNIQUE(ns, id));
CREATE TABLE IF NOT EXISTS lease_resources(
  rowid INTEGER PRIMARY KEY,
  ns TEXT NOT NULL, lease TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
  UNIQUE(ns, lease, type, id));
CREATE INDEX IF NOT EXISTS lease_resources_by_object ON lease_resources(ns, type, id);
CREATE TABLE IF NOT EXISTS blobs(
  rowid INTEGER PRIMARY KEY,
  ns TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, labels TEXT NOT NULL,
  created INTEGER NOT NULL, updated INTEGER NOT NULL,
  UNIQUE(ns, digest));
CREATE INDEX IF NOT EXISTS blobs_by_digest ON blobs(digest);
CREATE TABLE IF NOT EXISTS ingests(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  ns TEXT NOT NULL, ref TEXT NOT NULL, shared TEXT, total INTEGER NOT NULL, expected TEXT,
  started INTEGER NOT NULL, updated INTEGER NOT NULL, expires INTEGER,
  UNIQUE(ns, ref));
CREATE INDEX IF NOT EXISTS ingests_by_shared ON ingests(shared) WHERE shared IS NOT NULL;
CREATE TABLE IF NOT EXISTS snapshots(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  ns TEXT NOT NULL, snapshotter TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
  parent INTEGER, labels TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
  inodes INTEGER, size INTEGER, durable INTEGER NOT NULL DEFAULT 1,
  UNIQUE(ns, snapshotter, name));
CREATE INDEX IF NOT EXISTS snapshots_by_parent ON snapshots(parent) WHERE parent IS NOT NULL;
CREATE TABLE IF NOT EXISTS quarantine(
  rowid INTEGER PRIMARY KEY,
  tbl TEXT NOT NULL, record TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS facts(name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
`;

/** Columns that came after the first version; added to the tables of an older file. The schema above has them too. */
export const ADDED_COLUMNS: readonly {
  readonly table: Table;
  readonly name: string;
  readonly type: string;
}[] = [{ table: "snapshots", name: "durable", type: "INTEGER NOT NULL DEFAULT 1" }];
