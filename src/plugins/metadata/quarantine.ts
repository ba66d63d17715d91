/** Records that cannot be read: neither fatal nor lost, they are moved to the table `quarantine`, whole, with the reason. */
import type { SQLInputValue } from "node:sqlite";
import type { Logger } from "../../core/log.ts";
import { nowNs } from "../../lib/time.ts";
import type { Row } from "./rows.ts";
import type { Table } from "./schema.ts";

/** The part of the database that moving a record needs. */
interface Records {
  get(sql: string, ...params: SQLInputValue[]): Row | undefined;
  run(sql: string, ...params: SQLInputValue[]): unknown;
  write(body: () => void): Promise<void>;
}

/** See the head of this file. */
export class Quarantine {
  readonly #records: Records;
  readonly #log: Logger;
  /** Records on their way: whoever reads one again meanwhile reports it only once. */
  readonly #moving = new Set<string>();

  constructor(records: Records, log: Logger) {
    this.#records = records;
    this.#log = log;
  }

  /** Moves a record in the background; a row without its key in `rowid` stays where it is. */
  move(table: Table, row: Row, reason: string): void {
    const key = row["rowid"];
    const name = `${table} ${String(key)}`;
    if ((typeof key !== "bigint" && typeof key !== "string") || this.#moving.has(name)) return;
    this.#moving.add(name);
    this.#log.error("metadata record is damaged: moved to quarantine", { table, rowid: String(key), reason });
    void this.#records
      .write(() => this.#move(table, key, row, reason))
      .catch((err: unknown) => this.#log.error("quarantine of a damaged record failed", { err }))
      .finally(() => this.#moving.delete(name));
  }

  /** @param read what the reader saw, for a record that is gone meanwhile */
  #move(table: Table, key: bigint | string, read: Row, reason: string): void {
    const whole = this.#records.get(`SELECT rowid, * FROM ${table} WHERE rowid = ?`, key) ?? read;
    this.#records.run(
      "INSERT INTO quarantine(tbl, record, reason, at) VALUES(?, ?, ?, ?)",
      table,
      JSON.stringify(whole, printable),
      reason,
      nowNs(),
    );
    this.#records.run(`DELETE FROM ${table} WHERE rowid = ?`, key);
  }
}

function printable(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
}
