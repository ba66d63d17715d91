/** sandboxes run, list, remove, info. */

import { readFile } from "node:fs/promises";
import { sandboxesClient } from "../../../client/sandbox.ts";
import { sandboxControllerClient } from "../../../client/sandbox-controller.ts";
import { invalidArgument, isNotFound, messageOf } from "../../../core/errors.ts";
import { formatRfc3339 } from "../../../lib/time.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { listOf, need, textOf } from "../context.ts";
import { renderTable, toJson } from "../table.ts";

/** Type of a sandbox's spec: it is an OCI spec as JSON. */
const SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

export const run: Action = async (context, args, options) => {
  const path = need(args, 0, "pod config");
  const id = need(args, 1, "sandbox id");
  const text = await readFile(path, "utf8").catch((err: unknown) => {
    throw invalidArgument(`failed to read sandbox config "${path}": ${messageOf(err)}`, { cause: err });
  });
  try {
    JSON.parse(text);
  } catch (err) {
    throw invalidArgument(`failed to parse sandbox config "${path}": ${messageOf(err)}`, { cause: err });
  }
  await using transport = context.connect();
  const call = context.call();
  const store = sandboxesClient(transport);
  const controller = sandboxControllerClient(transport, "");
  const sandbox = await store.create(call, {
    id,
    runtime: { name: textOf(options, "runtime") },
    spec: { typeUrl: SPEC_TYPE, value: new TextEncoder().encode(text) },
    labels: new Map(),
    extensions: new Map(),
    sandboxer: "",
  });
  try {
    await controller.create(call, { sandbox, rootfs: [], netns: "", annotations: new Map() });
    await controller.start(call, id);
  } catch (err) {
    const after = call.detached(10_000);
    await controller.shutdown(after, id).catch(() => {});
    await store.delete(after, id).catch(() => {});
    throw err;
  }
  toStdout(`${id}\n`);
  return 0;
};

export const list: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const all = await sandboxesClient(transport).list(context.call(), listOf(options, "filters"));
  const rows = all.map((s) => [s.id, formatRfc3339(s.createdAt), s.runtime.name]);
  toStdout(renderTable(["ID", "CREATED", "RUNTIME"], rows));
  return 0;
};

export const remove: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const store = sandboxesClient(transport);
  need(args, 0, "sandbox id");
  let code = 0;
  for (const id of args) {
    try {
      const { sandboxer } = await store.get(call, id);
      const controller = sandboxControllerClient(transport, sandboxer);
      await controller.shutdown(call, id).catch((err: unknown) => {
        // what is not running needs no end
        if (isNotFound(err)) return;
        if (options["force"] !== true) throw err;
        toStderr(`ctr: warning: shut down sandbox "${id}": ${messageOf(err)}\n`);
      });
      await store.delete(call, id);
    } catch (err) {
      toStderr(`ctr: failed to remove sandbox "${id}": ${messageOf(err)}\n`);
      code = 1;
    }
  }
  return code;
};

export const info: Action = async (context, args) => {
  await using transport = context.connect();
  const s = await sandboxesClient(transport).get(context.call(), need(args, 0, "sandbox id"));
  toStdout(
    toJson({
      ID: s.id,
      Labels: s.labels,
      Runtime: {
        Name: s.runtime.name,
        Options:
          s.runtime.options === undefined
            ? null
            : { type_url: s.runtime.options.typeUrl, value: s.runtime.options.value },
      },
      Spec: s.spec === undefined ? null : { type_url: s.spec.typeUrl, value: s.spec.value },
      CreatedAt: formatRfc3339(s.createdAt),
      UpdatedAt: formatRfc3339(s.updatedAt),
      Extensions: s.extensions.size === 0 ? null : s.extensions,
      Sandboxer: s.sandboxer,
    }),
  );
  return 0;
};
