import type { SQLInputValue } from "node:sqlite";
import type { NamespacedCall } from "../../core/call.ts";
import { alreadyExists, invalidArgument, notFound, wrap } from "../../core/errors.ts";
import { checkFields, maskLabels, maskMap } from "../../core/fieldmask.ts";
import { adaptSandbox } from "../../core/filters/adaptors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import { checkIdentifier } from "../../core/ids/namespace.ts";
import { checkLabels, keptLabels } from "../../core/labels.ts";
import type { Sandbox, SandboxInput, SandboxStore } from "../../core/sandbox/sandbox.ts";
import { nowNs } from "../../lib/time.ts";
import type { StoreContext } from "./context.ts";
import { anyMap, anyValue, encodeAnyMap, encodeLabels, int, labels, type Row, text } from "./rows.ts";

const COLUMNS = `rowid, id, labels, runtime, runtime_options_url, runtime_options, spec_url, spec, extensions, sandboxer,
  created, updated`;

/** Sandboxes in the database. Their events are the controller service's: a record is not yet a sandbox. */
export class SqliteSandboxStore implements SandboxStore {
  readonly #context: StoreContext;

  constructor(context: StoreContext) {
    this.#context = context;
  }

  async get(call: NamespacedCall, id: string): Promise<Sandbox> {
    return this.#find(call, id);
  }

  async list(call: NamespacedCall, filters: readonly string[]): Promise<Sandbox[]> {
    const match = compileFilters(filters);
    const { db } = this.#context;
    const rows = db.all(`SELECT ${COLUMNS} FROM sandboxes WHERE ns = ? ORDER BY id`, call.namespace);
    return db.decode("sandboxes", rows, toSandbox).filter((s) => match(adaptSandbox(s)));
  }

  async create(call: NamespacedCall, input: SandboxInput): Promise<Sandbox> {
    check(input);
    const { db } = this.#context;
    const now = nowNs();
    const sandbox: Sandbox = { ...input, labels: keptLabels(input.labels), createdAt: now, updatedAt: now };
    await db.write(() => {
      this.#context.ensureNamespace(call.namespace);
      const { changes } = db.run(
        `INSERT OR IGNORE INTO sandboxes(ns, id, labels, runtime, runtime_options_url, runtime_options, spec_url, spec,
           extensions, sandboxer, created, updated) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        call.namespace,
        sandbox.id,
        ...values(sandbox),
      );
      if (changes === 0) throw alreadyExists(`sandbox "${sandbox.id}"`);
      this.#context.touch("sandbox", call.namespace, sandbox.id);
    });
    this.#context.mutated("change");
    return sandbox;
  }

  async update(call: NamespacedCall, input: SandboxInput, fields: readonly string[]): Promise<Sandbox> {
    if (input.id === "") throw invalidArgument("must specify a sandbox id");
    checkFields(
      fields,
      ["labels", "extensions", "spec", "runtime"],
      ["labels.", "extensions."],
      `sandbox "${input.id}"`,
    );
    const { db } = this.#context;
    const updated = await db.write(() => {
      const next = merge(this.#find(call, input.id), input, fields);
      check(next);
      db.run(
        `UPDATE sandboxes SET labels = ?, runtime = ?, runtime_options_url = ?, runtime_options = ?, spec_url = ?,
           spec = ?, extensions = ?, sandboxer = ?, created = ?, updated = ? WHERE ns = ? AND id = ?`,
        ...values(next),
        call.namespace,
        next.id,
      );
      this.#context.touch("sandbox", call.namespace, next.id);
      return next;
    });
    this.#context.mutated("change");
    return updated;
  }

  async delete(call: NamespacedCall, id: string): Promise<void> {
    const { db } = this.#context;
    await db.write(
      () => {
        const { changes } = db.run("DELETE FROM sandboxes WHERE ns = ? AND id = ?", call.namespace, id);
        if (changes === 0) throw notFound(`sandbox "${id}"`);
      },
      { frees: true },
    );
    this.#context.mutated("delete");
  }

  #find(call: NamespacedCall, id: string): Sandbox {
    const { db } = this.#context;
    const row = db.get(`SELECT ${COLUMNS} FROM sandboxes WHERE ns = ? AND id = ?`, call.namespace, id);
    if (row === undefined) throw notFound(`sandbox "${id}"`);
    return db.decodeOne("sandboxes", row, toSandbox);
  }
}

function toSandbox(row: Row): Sandbox {
  return {
    id: text(row, "id"),
    labels: labels(row),
    runtime: { name: text(row, "runtime"), options: anyValue(row, "runtime_options_url", "runtime_options") },
    spec: anyValue(row, "spec_url", "spec"),
    extensions: anyMap(row, "extensions"),
    sandboxer: text(row, "sandboxer"),
    createdAt: int(row, "created"),
    updatedAt: int(row, "updated"),
  };
}

/** Column values after ns and id. */
function values(s: Sandbox): SQLInputValue[] {
  return [
    encodeLabels(s.labels),
    s.runtime.name,
    s.runtime.options?.typeUrl ?? null,
    s.runtime.options?.value ?? null,
    s.spec?.typeUrl ?? null,
    s.spec?.value ?? null,
    encodeAnyMap(s.extensions),
    s.sandboxer,
    s.createdAt,
    s.updatedAt,
  ];
}

function merge(old: Sandbox, input: SandboxInput, fields: readonly string[]): Sandbox {
  const has = (name: string): boolean => fields.length === 0 || fields.includes(name);
  if (has("runtime") && old.runtime.name !== input.runtime.name)
    throw invalidArgument("sandbox.Runtime.Name field is immutable");
  return {
    ...old,
    labels: maskLabels(old.labels, input.labels, fields),
    extensions: has("extensions")
      ? new Map(input.extensions)
      : maskMap(old.extensions, input.extensions, fields, "extensions."),
    spec: has("spec") ? input.spec : old.spec,
    runtime: has("runtime") ? input.runtime : old.runtime,
    updatedAt: nowNs(),
  };
}

function check(s: SandboxInput): void {
  try {
    checkIdentifier(s.id);
    if (s.extensions.has("")) throw invalidArgument("extension keys must not be zero-length");
    checkLabels(s.labels);
    if (s.runtime.name === "") throw invalidArgument("runtime name must be set");
  } catch (err) {
    throw wrap(err, `sandbox "${s.id}"`);
  }
}
