import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, test } from "node:test";
import { codeOf } from "../../core/errors.ts";
import { type Logger, noLog } from "../../core/log.ts";
import { Database } from "./db.ts";
import { GroupSync } from "./group-sync.ts";
import { int, text } from "./rows.ts";

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function place(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "gantry-db-"));
  folders.push(folder);
  return join(folder, "meta.sqlite");
}

/** Collects error lines. */
function recorder(): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const log: Logger = { ...noLog, error: (message) => lines.push(message), child: () => log };
  return { log, lines };
}

async function addLease(db: Database, id: string, created: bigint): Promise<void> {
  await db.write(() => {
    db.run("INSERT INTO leases(ns, id, labels, created) VALUES('n', ?, '{}', ?)", id, created);
  });
}

function leases(db: Database): string[] {
  return db.all("SELECT id FROM leases ORDER BY id").map((row) => text(row, "id"));
}

describe("metadata database", () => {
  test("keeps 64-bit numbers, rolls back on a throw, survives reopening", async () => {
    const path = await place();
    let db = await Database.open({ path, log: noLog });
    assert.equal(db.unclean, false);
    await db.keepReserve();
    await addLease(db, "a", 9_223_372_036_854_775_807n);
    await assert.rejects(
      db.write(() => {
        db.run("DELETE FROM leases");
        throw new Error("no");
      }),
    );
    await assert.rejects(addLease(db, "a", 1n), (err) => codeOf(err) === "internal");
    await db.close();
    await db.close();
    assert.deepEqual((await readdir(join(path, ".."))).toSorted(), ["meta.sqlite", "meta.sqlite.reserve"]);
    db = await Database.open({ path, log: noLog });
    assert.equal(db.unclean, false);
    assert.equal(int(db.get("SELECT created FROM leases") ?? {}, "created"), 9_223_372_036_854_775_807n);
    await db.close();
  });

  test("after a flush that failed nothing is written any more: the kernel tells of lost pages once", async (t) => {
    const path = await place();
    const db = await Database.open({ path, log: noLog });
    await addLease(db, "a", 1n);
    await using file = await open(path);
    const fails = t.mock.method(Object.getPrototypeOf(file) as FileHandle, "datasync", async () => {
      throw new Error("EIO: i/o error, fdatasync");
    });
    const refused = (err: unknown): boolean =>
      codeOf(err) === "internal" && /could not be made durable.*EIO/.test(String(err));
    await assert.rejects(addLease(db, "b", 2n), refused);
    fails.mock.restore();
    await assert.rejects(addLease(db, "c", 3n), refused);
    assert.deepEqual(leases(db), ["a", "b"]);
    await db.close();
    const again = await Database.open({ path, log: noLog });
    assert.equal(again.unclean, true);
    await addLease(again, "d", 4n);
    await again.close();
  });

  test("callers of one moment share a flush; a later caller gets a later one", async () => {
    let flushes = 0;
    let release = (): void => {};
    const group = new GroupSync(async () => {
      flushes++;
      await new Promise<void>((resolve) => {
        release = resolve;
      });
    });
    const first = [group.wait(), group.wait()];
    const late = [group.wait(), group.wait(), group.wait()];
    await new Promise(setImmediate);
    release();
    await first[0];
    await new Promise(setImmediate);
    release();
    await Promise.all([...first, ...late]);
    assert.ok(flushes <= 2);
  });

  test("a checkpoint empties the log while writers wait, and nothing is lost", async () => {
    const path = await place();
    const db = await Database.open({ path, log: noLog });
    const writes = Array.from({ length: 50 }, (_, i) => addLease(db, `a${i}`, 1n));
    const checkpoint = db.checkpoint();
    const more = Array.from({ length: 50 }, (_, i) => addLease(db, `b${i}`, 1n));
    await Promise.all([...writes, checkpoint, ...more]);
    await db.checkpoint();
    assert.equal((await stat(`${path}-wal`)).size, 0);
    assert.equal(leases(db).length, 100);
    await db.close();
  });

  test("a log that grows is folded in by itself", async () => {
    const path = await place();
    const db = await Database.open({ path, log: noLog, noSync: true });
    const big = "x".repeat(100_000);
    for (let i = 0; i < 120; i++)
      await db.write(() =>
        db.run("INSERT INTO leases(ns, id, labels, created) VALUES('n', ?, ?, 1)", `l${i}`, big),
      );
    await db.checkpoint();
    assert.ok((await stat(`${path}-wal`)).size < 8 << 20);
    assert.equal(leases(db).length, 120);
    await db.close();
  });

  test("killed in the middle of writing: everything acknowledged is there", async () => {
    const path = await place();
    const script = `${path}.ts`;
    await writeFile(
      script,
      `import { Database } from ${JSON.stringify(join(import.meta.dirname, "db.ts"))};
       const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
       const db = await Database.open({ path: ${JSON.stringify(path)}, log });
       for (let i = 0; ; i++) {
         await Promise.all([0, 1, 2].map((n) => db.write(() => {
           db.run("INSERT INTO leases(ns, id, labels, created) VALUES('n', ?, '{}', 1)", i + "-" + n);
           db.run("INSERT INTO lease_resources(ns, lease, type, id) VALUES('n', ?, 'content', 'x')", i + "-" + n);
         })));
         process.stdout.write(i + "\\n");
         if (i % 50 === 0) await db.checkpoint();
       }`,
    );
    const child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
    let acknowledged = "";
    for await (const chunk of child.stdout) {
      acknowledged += String(chunk);
      if (acknowledged.split("\n").length > 200) child.kill("SIGKILL");
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    const last = Number(acknowledged.trimEnd().split("\n").at(-1));
    const { log, lines } = recorder();
    const db = await Database.open({ path, log });
    assert.deepEqual([db.unclean, db.rescued, lines.length], [true, false, 0]);
    for (let i = 0; i <= last; i++)
      assert.ok(db.get("SELECT 1 FROM leases WHERE id = ?", `${i}-2`) !== undefined);
    const torn = db.get(
      "SELECT count(*) AS n FROM leases l LEFT JOIN lease_resources r ON r.lease = l.id WHERE r.id IS NULL",
    );
    assert.equal(torn?.["n"], 0n);
    await db.close();
  });

  test("a damaged file is set aside and read as far as it goes (R2)", async () => {
    for (const damage of ["garbage", "truncate", "flip"] as const) {
      const path = await place();
      let db = await Database.open({ path, log: noLog });
      await db.write(() => {
        for (let i = 0; i < 2000; i++)
          db.run(
            "INSERT INTO images(ns, name, labels, media_type, digest, size, target, created, updated) VALUES('n', ?, '{}', 'm', 'd', 1, '{}', 1, 1)",
            `image-${i}`,
          );
      });
      await db.close();
      const bytes = await readFile(path);
      if (damage === "garbage") bytes.fill(0x41);
      if (damage === "flip")
        for (let at = bytes.length >> 1; at < (bytes.length >> 1) + 4096; at++)
          bytes[at] = (bytes[at] ?? 0) ^ 0xff;
      await writeFile(path, damage === "truncate" ? bytes.subarray(0, bytes.length - 3 * 4096) : bytes);
      await writeFile(`${path}.open`, "");
      const { log, lines } = recorder();
      db = await Database.open({ path, log });
      assert.equal(db.rescued, true, damage);
      assert.match(lines[0] ?? "", /damaged: set aside/);
      const saved = db.all("SELECT name FROM images").length;
      if (damage !== "garbage") assert.ok(saved > 1000, `${damage}: ${saved} of 2000 saved`);
      await addLease(db, "works", 1n);
      await db.close();
      assert.ok((await readdir(join(path, ".."))).some((name) => name.startsWith("meta.sqlite.damaged-")));
      db = await Database.open({ path, log });
      assert.deepEqual([db.rescued, leases(db)], [true, ["works"]]);
      await db.close();
    }
  });

  test("a bad record is moved to quarantine, the others are read (R3)", async () => {
    const path = await place();
    const { log, lines } = recorder();
    const db = await Database.open({ path, log });
    await db.write(() => {
      for (const [id, labels] of [
        ["good", "{}"],
        ["bad", "{not json"],
        ["worse", '{"k":1}'],
      ] as const)
        db.run("INSERT INTO leases(ns, id, labels, created) VALUES('n', ?, ?, 1)", id, labels);
    });
    const read = (): string[] =>
      db.decode("leases", db.all("SELECT rowid, id, labels FROM leases ORDER BY id"), (row) => {
        for (const v of Object.values(JSON.parse(text(row, "labels")) as object))
          if (typeof v !== "string") throw new TypeError("label is no text");
        return text(row, "id");
      });
    assert.deepEqual(read(), ["good"]);
    await db.flush();
    assert.deepEqual(leases(db), ["good"]);
    assert.equal(db.all("SELECT * FROM quarantine").length, 2);
    assert.equal(lines.length, 2);
    assert.deepEqual(read(), ["good"]);
    await db.close();
  });
});
