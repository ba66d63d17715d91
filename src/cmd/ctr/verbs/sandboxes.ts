/** sandboxes list, remove, info. */
import { sandboxesClient, shutdownSandbox } from "../../../client/sandbox.ts";
import { isNotFound, messageOf } from "../../../core/errors.ts";
import { formatRfc3339 } from "../../../lib/time.ts";
import type { Action } from "../command.ts";
import { listOf, need } from "../context.ts";
import { renderTable, toJson } from "../table.ts";

export const list: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const all = await sandboxesClient(transport).list(context.call(), listOf(options, "filters"));
  const rows = all.map((s) => [s.id, formatRfc3339(s.createdAt), s.runtime.name]);
  process.stdout.write(renderTable(["ID", "CREATED", "RUNTIME"], rows));
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
      await shutdownSandbox(transport, call, id, sandboxer).catch((err: unknown) => {
        // what is not running needs no end
        if (isNotFound(err)) return;
        if (options["force"] !== true) throw err;
        process.stderr.write(`ctr: warning: shut down sandbox "${id}": ${messageOf(err)}\n`);
      });
      await store.delete(call, id);
    } catch (err) {
      process.stderr.write(`ctr: failed to remove sandbox "${id}": ${messageOf(err)}\n`);
      code = 1;
    }
  }
  return code;
};

export const info: Action = async (context, args) => {
  await using transport = context.connect();
  const s = await sandboxesClient(transport).get(context.call(), need(args, 0, "sandbox id"));
  process.stdout.write(
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
