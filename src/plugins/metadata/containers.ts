import type { SQLInputValue } from "node:sqlite";
import type { NamespacedCall } from "../../core/call.ts";
import type { Container, ContainerInput, ContainerStore } from "../../core/containers/containers.ts";
import { alreadyExists, invalidArgument, notFound, wrap } from "../../core/errors.ts";
import { checkFields, maskLabels, maskMap } from "../../core/fieldmask.ts";
import { adaptContainer } from "../../core/filters/adaptors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import { checkIdentifier } from "../../core/ids/namespace.ts";
import { checkLabels, keptLabels } from "../../core/labels.ts";
import { nowNs } from "../../lib/time.ts";
import type { StoreContext } from "./context.ts";
import { anyMap, anyValue, encodeAnyMap, encodeLabels, int, labels, type Row, text } from "./rows.ts";

const COLUMNS = `rowid, id, labels, image, runtime, runtime_options_url, runtime_options, spec_url, spec, snapshotter,
  snapshot_key, extensions, sandbox, created, updated`;

/** Containers in the database. */
export class SqliteContainerStore implements ContainerStore {
  readonly #context: StoreContext;

  constructor(context: StoreContext) {
    this.#context = context;
  }

  async get(call: NamespacedCall, id: string): Promise<Container> {
    return this.#find(call, id);
  }

  async list(call: NamespacedCall, filters: readonly string[]): Promise<Container[]> {
    const match = compileFilters(filters);
    const { db } = this.#context;
    const rows = db.all(`SELECT ${COLUMNS} FROM containers WHERE ns = ? ORDER BY id`, call.namespace);
    return db.decode("containers", rows, toContainer).filter((c) => match(adaptContainer(c)));
  }

  async create(call: NamespacedCall, input: ContainerInput): Promise<Container> {
    check(input, "create container failed validation");
    const { db } = this.#context;
    const now = nowNs();
    const container: Container = {
      ...input,
      labels: keptLabels(input.labels),
      createdAt: now,
      updatedAt: now,
    };
    await db.write(() => {
      this.#context.ensureNamespace(call.namespace);
      const { changes } = db.run(
        `INSERT OR IGNORE INTO containers(ns, id, labels, image, runtime, runtime_options_url, runtime_options, spec_url,
           spec, snapshotter, snapshot_key, extensions, sandbox, created, updated)
         VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        call.namespace,
        container.id,
        ...values(container),
      );
      if (changes === 0) throw alreadyExists(`container "${container.id}"`);
      this.#context.touch("container", call.namespace, container.id);
    });
    this.#context.publish(call, "/containers/create", {
      id: container.id,
      image: container.image,
      runtime: { name: container.runtime.name, options: container.runtime.options },
    });
    this.#context.mutated("change");
    return container;
  }

  async update(call: NamespacedCall, input: ContainerInput, fields: readonly string[]): Promise<Container> {
    if (input.id === "") throw invalidArgument("must specify a container id");
    checkFields(
      fields,
      ["labels", "spec", "extensions", "image", "snapshotkey"],
      ["labels.", "extensions."],
      `"${input.id}"`,
    );
    const { db } = this.#context;
    const updated = await db.write(() => {
      const next = merge(this.#find(call, input.id), input, fields);
      check(next, "update failed validation");
      db.run(
        `UPDATE containers SET labels = ?, image = ?, runtime = ?, runtime_options_url = ?, runtime_options = ?,
           spec_url = ?, spec = ?, snapshotter = ?, snapshot_key = ?, extensions = ?, sandbox = ?, created = ?, updated = ?
         WHERE ns = ? AND id = ?`,
        ...values(next),
        call.namespace,
        next.id,
      );
      this.#context.touch("container", call.namespace, next.id);
      return next;
    });
    this.#context.publish(call, "/containers/update", {
      id: updated.id,
      image: updated.image,
      labels: Object.fromEntries(updated.labels),
      snapshotKey: updated.snapshotKey,
    });
    this.#context.mutated("change");
    return updated;
  }

  async delete(call: NamespacedCall, id: string): Promise<void> {
    const { db } = this.#context;
    await db.write(
      () => {
        const { changes } = db.run("DELETE FROM containers WHERE ns = ? AND id = ?", call.namespace, id);
        if (changes === 0) throw notFound(`container "${id}" in namespace "${call.namespace}"`);
      },
      { frees: true },
    );
    this.#context.publish(call, "/containers/delete", { id });
    this.#context.mutated("delete");
  }

  #find(call: NamespacedCall, id: string): Container {
    const { db } = this.#context;
    const row = db.get(`SELECT ${COLUMNS} FROM containers WHERE ns = ? AND id = ?`, call.namespace, id);
    if (row === undefined) throw notFound(`container "${id}" in namespace "${call.namespace}"`);
    return db.decodeOne("containers", row, toContainer);
  }
}

function toContainer(row: Row): Container {
  return {
    id: text(row, "id"),
    labels: labels(row),
    image: text(row, "image"),
    runtime: { name: text(row, "runtime"), options: anyValue(row, "runtime_options_url", "runtime_options") },
    spec: anyValue(row, "spec_url", "spec"),
    snapshotter: text(row, "snapshotter"),
    snapshotKey: text(row, "snapshot_key"),
    createdAt: int(row, "created"),
    updatedAt: int(row, "updated"),
    extensions: anyMap(row, "extensions"),
    sandbox: text(row, "sandbox"),
  };
}

/** Column values after ns and id. */
function values(c: Container): SQLInputValue[] {
  return [
    encodeLabels(c.labels),
    c.image,
    c.runtime.name,
    c.runtime.options?.typeUrl ?? null,
    c.runtime.options?.value ?? null,
    c.spec?.typeUrl ?? null,
    c.spec?.value ?? null,
    c.snapshotter,
    c.snapshotKey,
    encodeAnyMap(c.extensions),
    c.sandbox,
    c.createdAt,
    c.updatedAt,
  ];
}

function merge(old: Container, input: ContainerInput, fields: readonly string[]): Container {
  if (fields.length === 0) {
    if (old.snapshotter !== input.snapshotter)
      throw invalidArgument("container.Snapshotter field is immutable");
    if (old.runtime.name !== input.runtime.name)
      throw invalidArgument("container.Runtime.Name field is immutable");
  }
  const all = fields.length === 0;
  const has = (name: string): boolean => all || fields.includes(name);
  return {
    ...old,
    labels: maskLabels(old.labels, input.labels, fields),
    extensions: has("extensions")
      ? new Map(input.extensions)
      : maskMap(old.extensions, input.extensions, fields, "extensions."),
    spec: has("spec") ? input.spec : old.spec,
    image: has("image") ? input.image : old.image,
    snapshotKey: has("snapshotkey") ? input.snapshotKey : old.snapshotKey,
    updatedAt: nowNs(),
  };
}

function check(c: ContainerInput, context: string): void {
  try {
    try {
      checkIdentifier(c.id);
    } catch (err) {
      throw wrap(err, "container.ID");
    }
    if (c.extensions.has("")) throw invalidArgument("container.Extension keys must not be zero-length");
    try {
      checkLabels(c.labels);
    } catch (err) {
      throw wrap(err, "containers.Labels");
    }
    if (c.runtime.name === "") throw invalidArgument("container.Runtime.Name must be set");
    if (c.spec === undefined) throw invalidArgument("container.Spec must be set");
    if (c.snapshotKey !== "" && c.snapshotter === "")
      throw invalidArgument("container.Snapshotter must be set if container.SnapshotKey is set");
  } catch (err) {
    throw wrap(err, context);
  }
}
