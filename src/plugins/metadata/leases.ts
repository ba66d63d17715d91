import { randomBytes } from "node:crypto";
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { alreadyExists, invalidArgument, messageOf, notFound, notImplemented } from "../../core/errors.ts";
import { adaptLease } from "../../core/filters/adaptors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import { checkLabels, keptLabels } from "../../core/labels.ts";
import type { Lease, LeaseManager, LeaseResource } from "../../core/leases/leases.ts";
import { nowNs } from "../../lib/time.ts";
import type { StoreContext } from "./context.ts";
import { encodeLabels, int, labels, type Row, text } from "./rows.ts";

/** Leases in the database. */
export class SqliteLeaseManager implements LeaseManager {
  readonly #context: StoreContext;

  constructor(context: StoreContext) {
    this.#context = context;
  }

  async create(call: NamespacedCall, id: string, given: Labels): Promise<Lease> {
    checkLabels(given);
    const { db } = this.#context;
    const lease: Lease = {
      id: id === "" ? randomBytes(16).toString("hex") : id,
      createdAt: nowNs(),
      labels: keptLabels(given),
    };
    await db.write(() => {
      this.#context.ensureNamespace(call.namespace);
      const { changes } = db.run(
        "INSERT OR IGNORE INTO leases(ns, id, labels, created) VALUES(?, ?, ?, ?)",
        call.namespace,
        lease.id,
        encodeLabels(lease.labels),
        lease.createdAt,
      );
      if (changes === 0) throw alreadyExists(`lease "${lease.id}"`);
    });
    this.#context.mutated("change");
    return lease;
  }

  async delete(call: NamespacedCall, id: string, sync = false): Promise<void> {
    const { db } = this.#context;
    await db.write(
      () => {
        const { changes } = db.run("DELETE FROM leases WHERE ns = ? AND id = ?", call.namespace, id);
        if (changes === 0) throw notFound(`lease "${id}"`);
        db.run("DELETE FROM lease_resources WHERE ns = ? AND lease = ?", call.namespace, id);
      },
      { frees: true },
    );
    this.#context.mutated("delete");
    if (sync) await this.#context.collect(call);
  }

  async list(call: NamespacedCall, filters: readonly string[]): Promise<Lease[]> {
    const match = compileFilters(filters);
    const { db } = this.#context;
    const rows = db.all(
      "SELECT rowid, id, labels, created FROM leases WHERE ns = ? ORDER BY id",
      call.namespace,
    );
    return db.decode("leases", rows, toLease).filter((l) => match(adaptLease(l)));
  }

  async addResource(call: NamespacedCall, lease: string, resource: LeaseResource): Promise<void> {
    await this.#context.db.write(() => {
      this.#require(call, lease);
      check(resource);
      this.#context.addResource(call.namespace, lease, resource.type, resource.id);
    });
    this.#context.mutated("change");
  }

  async deleteResource(call: NamespacedCall, lease: string, resource: LeaseResource): Promise<void> {
    await this.#context.db.write(
      () => {
        this.#require(call, lease);
        check(resource);
        this.#context.db.run(
          "DELETE FROM lease_resources WHERE ns = ? AND lease = ? AND type = ? AND id = ?",
          call.namespace,
          lease,
          resource.type,
          resource.id,
        );
      },
      { frees: true },
    );
    this.#context.mutated("delete");
  }

  async listResources(call: NamespacedCall, lease: string): Promise<LeaseResource[]> {
    this.#require(call, lease);
    const { db } = this.#context;
    const rows = db.all(
      "SELECT rowid, type, id FROM lease_resources WHERE ns = ? AND lease = ? ORDER BY type, id",
      call.namespace,
      lease,
    );
    return db.decode("lease_resources", rows, (row) => ({ type: text(row, "type"), id: text(row, "id") }));
  }

  #require(call: NamespacedCall, lease: string): void {
    const row = this.#context.db.get("SELECT 1 FROM leases WHERE ns = ? AND id = ?", call.namespace, lease);
    if (row === undefined) throw notFound(`lease "${lease}"`);
  }
}

function toLease(row: Row): Lease {
  return { id: text(row, "id"), createdAt: int(row, "created"), labels: labels(row) };
}

/** @throws invalid-argument or not-implemented in containerd's words */
function check({ type, id }: LeaseResource): void {
  const [kind, ...rest] = type.split("/");
  switch (kind) {
    case "content":
    case "ingests":
    case "images":
      if (rest.length > 0) throw invalidArgument(`invalid resource type ${type}`);
      if (kind !== "content") return;
      try {
        parseDigest(id);
      } catch (err) {
        throw invalidArgument(`invalid content resource id ${id}: ${messageOf(err)}`);
      }
      return;
    case "snapshots":
      if (rest.length !== 1 || rest[0] === "")
        throw invalidArgument(`invalid snapshot resource type ${type}`);
      return;
    default:
      throw notImplemented(`resource type ${type} not supported yet`);
  }
}
