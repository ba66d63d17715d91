/** The rule at the head of schema.ts: what an older program must find, and what it may refuse. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { after, test } from "node:test";
import { codeOf, GantryError } from "../../core/errors.ts";
import { noLog } from "../../core/log.ts";
import { Database } from "./db.ts";
import { rescue } from "./rescue.ts";
import { ADDED_COLUMNS, MIN_READER, SCHEMA, SCHEMA_VERSION, TABLES } from "./schema.ts";

const { DatabaseSync: Sqlite } = await import("node:sqlite");
const dirs: string[] = [];
after(async () => {
  for (const dir of dirs) await rm(dir, { recursive: true, force: true });
});

async function place(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "gantry-schema-"));
  dirs.push(dir);
  return join(dir, "meta.sqlite");
}

/** Columns of the first released schema. This list only grows, when a release is made; a line that goes breaks downgrades. */
const RELEASED: Readonly<Record<string, string>> = {
  namespaces: "name TEXT, labels TEXT",
  containers:
    "rowid INTEGER, ns TEXT, id TEXT, labels TEXT, image TEXT, runtime TEXT, runtime_options_url TEXT, runtime_options BLOB, spec_url TEXT, spec BLOB, snapshotter TEXT, snapshot_key TEXT, extensions TEXT, sandbox TEXT, created INTEGER, updated INTEGER",
  sandboxes:
    "rowid INTEGER, ns TEXT, id TEXT, labels TEXT, runtime TEXT, runtime_options_url TEXT, runtime_options BLOB, spec_url TEXT, spec BLOB, extensions TEXT, sandboxer TEXT, created INTEGER, updated INTEGER",
  images:
    "rowid INTEGER, ns TEXT, name TEXT, labels TEXT, media_type TEXT, digest TEXT, size INTEGER, target TEXT, created INTEGER, updated INTEGER",
  leases: "rowid INTEGER, ns TEXT, id TEXT, labels TEXT, created INTEGER",
  lease_resources: "rowid INTEGER, ns TEXT, lease TEXT, type TEXT, id TEXT",
  blobs: "rowid INTEGER, ns TEXT, digest TEXT, size INTEGER, labels TEXT, created INTEGER, updated INTEGER",
  ingests:
    "id INTEGER, ns TEXT, ref TEXT, shared TEXT, total INTEGER, expected TEXT, started INTEGER, updated INTEGER, expires INTEGER",
  snapshots:
    "id INTEGER, ns TEXT, snapshotter TEXT, name TEXT, kind TEXT, parent INTEGER, labels TEXT, created INTEGER, updated INTEGER, inodes INTEGER, size INTEGER, durable INTEGER",
  quarantine: "rowid INTEGER, tbl TEXT, record TEXT, reason TEXT, at INTEGER",
  facts: "name TEXT, value TEXT",
};

interface Column {
  readonly name: string;
  readonly type: string;
  /** An INSERT that does not know the column works. */
  readonly optional: boolean;
}

function columnsOf(db: DatabaseSync, table: string): Column[] {
  const rows = db
    .prepare('SELECT name, type, "notnull" AS strict, dflt_value AS def, pk FROM pragma_table_info(?)')
    .all(table);
  return rows.map((r) => ({
    name: String(r["name"]),
    type: String(r["type"]),
    optional: r["strict"] === 0 || r["def"] !== null || r["pk"] === 1,
  }));
}

test("the schema only grew since its first release, by columns an older program need not know", () => {
  const db = new Sqlite(":memory:");
  db.exec(SCHEMA);
  for (const [table, text] of Object.entries(RELEASED)) {
    const released = text.split(", ");
    const now = columnsOf(db, table);
    for (const column of released)
      assert.ok(
        now.some((c) => `${c.name} ${c.type}` === column),
        `${table}: ${column} is gone or has changed`,
      );
    for (const { name, type, optional } of now)
      if (!released.includes(`${name} ${type}`)) {
        assert.ok(optional, `${table}.${name}: needs a default`);
        const added = ADDED_COLUMNS.some((c) => c.table === table && c.name === name);
        assert.ok(added, `${table}.${name}: is not added to older files`);
      }
  }
  for (const table of TABLES) assert.ok(table in RELEASED, table);
  assert.ok(MIN_READER >= 1 && MIN_READER <= SCHEMA_VERSION);
  assert.ok(
    SCHEMA_VERSION === 1 || MIN_READER <= SCHEMA_VERSION - 1,
    "going back one version is always possible",
  );
  db.close();
});

/** Makes a file as a newer program would leave it. @param minReader undefined: it does not say */
async function newerFile(version: number, minReader: number | undefined): Promise<string> {
  const path = await place();
  await (await Database.open({ path, log: noLog })).close();
  const raw = new Sqlite(path);
  raw.exec(`
    ALTER TABLE leases ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey';
    ALTER TABLE images ADD COLUMN seen INTEGER;
    CREATE TABLE futures(name TEXT PRIMARY KEY, value TEXT NOT NULL);
    INSERT INTO futures VALUES('a', 'b');
    INSERT INTO leases(ns, id, labels, created, colour) VALUES('n', 'theirs', '{}', 1, 'green');
    DELETE FROM facts WHERE name IN ('min_reader', 'writer');
    INSERT INTO facts VALUES('writer', '9.9.0');
    PRAGMA user_version = ${version};`);
  if (minReader !== undefined) raw.exec(`INSERT INTO facts VALUES('min_reader', '${minReader}')`);
  raw.close();
  return path;
}

const dump = (path: string): unknown => {
  const raw = new Sqlite(path, { readOnly: true });
  const all = ["leases", "futures", "facts"].map((t) => raw.prepare(`SELECT * FROM ${t}`).all());
  const version = raw.prepare("PRAGMA user_version").get();
  raw.close();
  return [all, version];
};

test("a file of a newer program that allows it is used, and what is the newer one's stays", async () => {
  for (const [version, minReader] of [
    [SCHEMA_VERSION + 1, undefined],
    [SCHEMA_VERSION + 7, SCHEMA_VERSION],
  ] as const) {
    const path = await newerFile(version, minReader);
    const db = await Database.open({ path, log: noLog });
    await db.write(() => {
      db.run("INSERT INTO leases(ns, id, labels, created) VALUES('n', 'ours', '{}', 2)");
      db.run("UPDATE leases SET labels = '{\"x\":\"y\"}' WHERE id = 'theirs'");
    });
    await db.close();
    const raw = new Sqlite(path);
    assert.deepEqual(
      raw
        .prepare("SELECT id, labels, colour FROM leases ORDER BY id")
        .all()
        .map((r) => ({ ...r })),
      [
        { id: "ours", labels: "{}", colour: "grey" },
        { id: "theirs", labels: '{"x":"y"}', colour: "green" },
      ],
    );
    assert.equal(raw.prepare("SELECT count(*) AS n FROM futures").get()?.["n"], 1);
    assert.equal(raw.prepare("PRAGMA user_version").get()?.["user_version"], version);
    assert.equal(raw.prepare("SELECT value FROM facts WHERE name = 'writer'").get()?.["value"], "9.9.0");
    raw.close();
  }
});

test("a file that needs a newer program is refused, named, and left alone", async () => {
  for (const [version, minReader] of [
    [SCHEMA_VERSION + 2, undefined],
    [SCHEMA_VERSION + 1, SCHEMA_VERSION + 1],
  ] as const) {
    const path = await newerFile(version, minReader);
    const before = dump(path);
    await assert.rejects(Database.open({ path, log: noLog }), (err) => {
      assert.equal(codeOf(err), "failed-precondition");
      assert.ok(err instanceof GantryError);
      assert.match(err.message, /written by gantry 9\.9\.0 .*needs a program of schema version/);
      assert.match(err.hint ?? "", /start gantry 9\.9\.0 again/);
      return true;
    });
    assert.deepEqual(dump(path), before);
    assert.ok(!(await readdir(dirname(path))).some((name) => name.includes("damaged")));
  }
});

test("a file of an older program gets what is new, and says who may read it", async () => {
  const path = await place();
  const raw = new Sqlite(path);
  raw.exec(SCHEMA.replace(", durable INTEGER NOT NULL DEFAULT 1", ""));
  raw.exec(`INSERT INTO snapshots(ns, snapshotter, name, kind, labels, created, updated)
            VALUES('n', 'overlayfs', 's', 'committed', '{}', 1, 1)`);
  raw.close();
  const db = await Database.open({ path, log: noLog });
  assert.equal(db.get("SELECT durable FROM snapshots")?.["durable"], 1n);
  assert.equal(db.get("SELECT value FROM facts WHERE name = 'min_reader'")?.["value"], String(MIN_READER));
  await db.close();
});

test("a damaged file of another version gives its rows all the same", async () => {
  const older = await place();
  const raw = new Sqlite(older);
  raw.exec(SCHEMA.replace(", durable INTEGER NOT NULL DEFAULT 1", ""));
  raw.exec(`INSERT INTO snapshots(ns, snapshotter, name, kind, labels, created, updated)
            VALUES('n', 'overlayfs', 's', 'committed', '{}', 1, 1)`);
  raw.close();
  const newer = await newerFile(SCHEMA_VERSION + 1, undefined);
  for (const [from, table] of [
    [older, "snapshots"],
    [newer, "leases"],
  ] as const) {
    const to = new Sqlite(":memory:");
    to.exec(SCHEMA);
    assert.equal(rescue(Sqlite, from, to)[table], 1);
    to.close();
  }
});
