import type { Labels } from "../../core/any.ts";
import type { Call } from "../../core/call.ts";
import { alreadyExists, failedPrecondition, invalidArgument, notFound, wrap } from "../../core/errors.ts";
import { checkFields, maskLabels } from "../../core/fieldmask.ts";
import { type Namespace, parseNamespace } from "../../core/ids/namespace.ts";
import { checkLabels, keptLabels, noLabels } from "../../core/labels.ts";
import type { NamespaceInfo, NamespaceStore } from "../../core/namespaces/namespaces.ts";
import type { StoreContext } from "./context.ts";
import { encodeLabels, labels, type Row, text } from "./rows.ts";

/** Namespaces in the database. They also appear by themselves when something is written into them. */
export class SqliteNamespaceStore implements NamespaceStore {
  readonly #context: StoreContext;

  constructor(context: StoreContext) {
    this.#context = context;
  }

  async get(_call: Call, name: string): Promise<NamespaceInfo> {
    return this.#find(name) ?? { name, labels: noLabels };
  }

  async list(_call: Call): Promise<NamespaceInfo[]> {
    const { db } = this.#context;
    const rows = db.all("SELECT rowid, name, labels FROM namespaces ORDER BY name");
    return db.decode("namespaces", rows, toInfo);
  }

  async create(call: Call, name: string, given: Labels): Promise<NamespaceInfo> {
    const namespace = parseName(name);
    check(given);
    const { db } = this.#context;
    const kept = keptLabels(given);
    await db.write(() => {
      const { changes } = db.run(
        "INSERT OR IGNORE INTO namespaces(name, labels) VALUES(?, ?)",
        namespace,
        encodeLabels(kept),
      );
      if (changes === 0) throw alreadyExists(`namespace "${name}"`);
    });
    this.#changed(call, "create", namespace, kept);
    return { name, labels: kept };
  }

  async update(call: Call, name: string, given: Labels, fields: readonly string[]): Promise<NamespaceInfo> {
    const namespace = parseName(name);
    checkFields(fields, ["labels"], ["labels."], `namespace "${name}"`);
    check(given);
    const { db } = this.#context;
    const next = await db.write(() => {
      this.#context.ensureNamespace(namespace);
      const merged = maskLabels(this.#find(name)?.labels ?? noLabels, given, fields);
      db.run("UPDATE namespaces SET labels = ? WHERE name = ?", encodeLabels(merged), name);
      return merged;
    });
    this.#changed(call, "update", namespace, next);
    return { name, labels: next };
  }

  async delete(call: Call, name: string): Promise<void> {
    const { db } = this.#context;
    await db.write(
      () => {
        if (this.#find(name) === undefined) throw notFound(`namespace "${name}"`);
        const left = this.#left(name);
        if (left.length > 0)
          throw failedPrecondition(`namespace "${name}" must be empty, but it still has ${left.join(", ")}`);
        for (const table of ["leases", "lease_resources", "ingests"] as const)
          db.run(`DELETE FROM ${table} WHERE ns = ?`, name);
        db.run("DELETE FROM namespaces WHERE name = ?", name);
      },
      { frees: true },
    );
    this.#context.publish(call.in(name as Namespace), "/namespaces/delete", { name });
    this.#context.mutated("delete");
  }

  #find(name: string): NamespaceInfo | undefined {
    const { db } = this.#context;
    const row = db.get("SELECT rowid, name, labels FROM namespaces WHERE name = ?", name);
    return row === undefined ? undefined : db.decodeOne("namespaces", row, toInfo);
  }

  /** Kinds of objects that keep a namespace from being deleted, in containerd's words. */
  #left(name: string): string[] {
    const { db } = this.#context;
    const left: string[] = [];
    for (const [table, word] of [
      ["images", "images"],
      ["blobs", "blobs"],
      ["containers", "containers"],
    ] as const) {
      if (db.get(`SELECT 1 FROM ${table} WHERE ns = ? LIMIT 1`, name) !== undefined) left.push(word);
    }
    for (const row of db.all("SELECT DISTINCT snapshotter FROM snapshots WHERE ns = ? ORDER BY 1", name))
      left.push(`snapshots on "${text(row, "snapshotter")}" snapshotter`);
    return left;
  }

  #changed(call: Call, verb: string, namespace: Namespace, next: Labels): void {
    this.#context.publish(call.in(namespace), `/namespaces/${verb}`, {
      name: namespace,
      labels: Object.fromEntries(next),
    });
  }
}

function toInfo(row: Row): NamespaceInfo {
  return { name: text(row, "name"), labels: labels(row) };
}

function parseName(name: string): Namespace {
  // containerd's database has a bucket of this name
  if (name === "version") throw invalidArgument(`namespace "${name}": the name is reserved`);
  return parseNamespace(name);
}

function check(given: Labels): void {
  try {
    checkLabels(given);
  } catch (err) {
    throw wrap(err, "namespace.Labels");
  }
}
