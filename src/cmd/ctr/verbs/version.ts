/** version, info, deprecations. */

import { introspectionClient, serverVersion } from "../../../client/introspection.ts";
import { formatRfc3339 } from "../../../lib/time.ts";
import { version as own, revision } from "../../../lib/version.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { renderTable, toJson } from "../table.ts";

export const version: Action = async (context) => {
  const runtime = `${process.release?.name === "node" && process.versions.bun === undefined ? "node" : "bun"} ${process.versions.bun ?? process.version}`;
  toStdout(`Client:\n  Version:  ${own}\n  Revision: ${revision}\n  Go version: none (${runtime})\n\n`);
  await using transport = context.connect();
  const call = context.call();
  const [server, { uuid }] = await Promise.all([
    serverVersion(transport, call),
    introspectionClient(transport).server(call),
  ]);
  toStdout(`Server:\n  Version:  ${server.version}\n  Revision: ${server.revision}\n  UUID: ${uuid}\n`);
  if (server.version !== own) toStderr("WARNING: version mismatch\n");
  return 0;
};

export const info: Action = async (context) => {
  await using transport = context.connect();
  toStdout(toJson({ server: await introspectionClient(transport).server(context.call()) }));
  return 0;
};

export const deprecations: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const { deprecations: found } = await introspectionClient(transport).server(context.call());
  if (options["format"] === "json") toStdout(toJson(found));
  else
    toStdout(
      renderTable(
        ["ID", "LAST OCCURRENCE", "MESSAGE"],
        found.map((d) => [d.id, formatRfc3339(d.lastOccurrence), d.message]),
      ),
    );
  return 0;
};
