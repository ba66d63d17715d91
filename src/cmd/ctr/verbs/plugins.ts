/** plugins list, plugins inspect-runtime. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  RuntimeInfoSchema,
  RuntimeRequestSchema,
} from "../../../api/gen/containerd/types/introspection_pb.ts";
import { OptionsSchema } from "../../../api/gen/containerd/types/runc/options/oci_pb.ts";
import { introspectionClient } from "../../../client/introspection.ts";
import { messageOf } from "../../../core/errors.ts";
import type { PluginStatus } from "../../../core/introspection/introspection.ts";
import type { Platform } from "../../../core/oci.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { textOf } from "../context.ts";
import { renderTable, toJson } from "../table.ts";

export const list: Action = async (context, args, options) => {
  await using transport = context.connect();
  const plugins = await introspectionClient(transport).plugins(context.call(), args);
  if (options["quiet"] === true) {
    for (const p of plugins) toStdout(`${p.id}\n`);
  } else if (options["detailed"] === true) {
    for (const p of plugins) toStdout(detailed(p));
  } else {
    toStdout(
      renderTable(
        ["TYPE", "ID", "PLATFORMS", "STATUS"],
        plugins.map((p) => [p.type, p.id, platforms(p.platforms), p.state]),
        4,
      ),
    );
  }
  return 0;
};

function platforms(list2: readonly Platform[]): string {
  const names = list2.map((p) =>
    [p.os, p.architecture, p.variant].filter((x) => x !== undefined && x !== "").join("/"),
  );
  return names.length === 0 ? "-" : names.join(",");
}

function detailed(p: PluginStatus): string {
  const lines = [
    ["Type:", p.type],
    ["ID:", p.id],
    ["Requires:", p.requires.join(", ")],
    ["Platforms:", platforms(p.platforms)],
    ...[...p.exports].map(([k, v]) => ["Exports:", `${k}: ${v}`]),
    ...(p.capabilities.length === 0 ? [] : [["Capabilities:", p.capabilities.join(", ")]]),
    ...(p.error === undefined ? [] : [["Error:", messageOf(p.error)]]),
  ];
  return `${lines.map(([k, v]) => `${(k ?? "").padEnd(14)}${v}`).join("\n")}\n\n`;
}

export const inspectRuntime: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const runc = create(OptionsSchema, {
    binaryName: textOf(options, "runcBinary"),
    root: textOf(options, "runcRoot"),
    systemdCgroup: options["runcSystemdCgroup"] === true,
  });
  const request = create(RuntimeRequestSchema, {
    runtimePath: textOf(options, "runtime"),
    options: { typeUrl: OptionsSchema.typeName, value: toBinary(OptionsSchema, runc) },
  });
  const answer = await introspectionClient(transport).pluginInfo(
    context.call(),
    "io.containerd.runtime.v2",
    "task",
    {
      typeUrl: RuntimeRequestSchema.typeName,
      value: toBinary(RuntimeRequestSchema, request),
    },
  );
  if (answer.extra !== undefined) {
    const info = fromBinary(RuntimeInfoSchema, answer.extra.value);
    toStdout(
      toJson({
        Name: info.name,
        Version: info.version,
        Annotations: info.annotations,
        Features:
          info.features === undefined ? undefined : JSON.parse(new TextDecoder().decode(info.features.value)),
      }),
    );
  }
  return 0;
};
