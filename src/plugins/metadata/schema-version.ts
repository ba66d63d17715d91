/** Which programs may use a database file; the rule is at the head of schema.ts. */
import type { DatabaseSync } from "node:sqlite";
import { failedPrecondition } from "../../core/errors.ts";
import { version } from "../../lib/version.ts";
import { MIN_READER, SCHEMA_VERSION } from "./schema.ts";

/**
 * Looks whether this program may use the file. Changes nothing.
 * @returns the file's schema version; 0 for a new file
 * @throws failed-precondition when only newer programs may
 */
export function checkSchemaVersion(db: DatabaseSync, path: string): number {
  const found = Number(Object.values(db.prepare("PRAGMA user_version").get() ?? {})[0] ?? 0);
  if (found <= SCHEMA_VERSION) return found;
  // a file that does not say was written by the rule before: readable by the version before its own
  const minReader = Number(fact(db, "min_reader") ?? found - 1);
  if (minReader <= SCHEMA_VERSION) return found;
  const writer = fact(db, "writer");
  throw failedPrecondition(
    `open "${path}": written by gantry ${writer ?? "of a newer version"} with schema version ${found}, which needs a program ` +
      `of schema version ${minReader} or newer; this is ${version} with ${SCHEMA_VERSION}`,
    {
      hint: `nothing was changed: start gantry ${writer ?? "of the version that ran last"} again, or go back one version at a time`,
    },
  );
}

/** Notes this program's schema in a file of an older one, or of its own. A newer one's is left as it is. */
export function writeSchemaVersion(db: DatabaseSync, found: number): void {
  if (found > SCHEMA_VERSION) return;
  if (found < SCHEMA_VERSION) db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  for (const [name, value] of [
    ["min_reader", String(MIN_READER)],
    ["writer", version],
  ] as const)
    if (fact(db, name) !== value)
      db.prepare("INSERT OR REPLACE INTO facts(name, value) VALUES(?, ?)").run(name, value);
}

function fact(db: DatabaseSync, name: string): string | undefined {
  if (db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'facts'").get() === undefined)
    return undefined;
  const value = db.prepare("SELECT value FROM facts WHERE name = ?").get(name)?.["value"];
  return typeof value === "string" ? value : undefined;
}
