/** info, events, runtime-config, update-runtime-config. */
import { toJson } from "@bufbuild/protobuf";
import {
  CgroupDriver,
  ContainerEventResponseSchema,
  RuntimeFeaturesSchema,
  RuntimeHandlerSchema,
  RuntimeStatusSchema,
} from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { internal, invalidArgument, isCanceled, wrap } from "../../../core/errors.ts";
import type { Json } from "../../../lib/yaml-emit.ts";
import { interrupted } from "../../shared/interrupt.ts";
import type { Action } from "../command.ts";
import { format, text } from "../options.ts";
import { checkTemplate, messageJson, writeStatuses, writeValue } from "../output/structured.ts";
import { renderTable } from "../output/table.ts";

export const info: Action = async (context, _args, options) => {
  await using cri = context;
  const out = format(options, ["json", "yaml", "go-template"] as const, "json");
  const verbose = options["quiet"] !== true;
  const answer = await (await cri.runtime()).status({ verbose }, cri.options()).catch((err: unknown) => {
    throw wrap(err, "getting status of runtime");
  });
  if (answer.status === undefined) throw internal("getting status of runtime: the engine sent none");
  // these two as the engine's Go structs are: snake case, without what is not set
  const plain = { useProtoFieldName: true } as const;
  const handlers = answer.runtimeHandlers.map((h) => toJson(RuntimeHandlerSchema, h, plain) as Json);
  const more: Record<string, Json> = {};
  if (handlers.length > 0) more["runtimeHandlers"] = handlers;
  if (answer.features !== undefined)
    more["features"] = toJson(RuntimeFeaturesSchema, answer.features, plain) as Json;
  const status = messageJson(RuntimeStatusSchema, answer.status);
  await writeStatuses([{ status, info: answer.info, more }], out, text(options, "template"));
  return 0;
};

export const events: Action = async (context, _args, options) => {
  await using cri = context;
  const out = format(options, ["json", "yaml", "go-template"] as const, "json");
  const template = text(options, "template");
  if (out === "go-template") await checkTemplate(template);
  else if (template !== "") throw invalidArgument(`template can't be used with "${out}" format`);
  try {
    for await (const event of (await cri.runtime()).getContainerEvents({}, cri.options(0)))
      await writeValue(messageJson(ContainerEventResponseSchema, event), out, template);
  } catch (err) {
    // ctrl-c is how it ends
    if (isCanceled(err) && interrupted().aborted) return 0;
    throw wrap(err, "getting container events");
  }
  return 0;
};

export const runtimeConfig: Action = async (context) => {
  await using cri = context;
  const { linux } = await (await cri.runtime()).runtimeConfig({}, cri.options()).catch((err: unknown) => {
    throw wrap(err, "get runtime config");
  });
  if (linux !== undefined) {
    const driver = CgroupDriver[linux.cgroupDriver] ?? String(linux.cgroupDriver);
    process.stdout.write(renderTable([["cgroup driver:", driver]], 10));
  }
  return 0;
};

export const updateRuntimeConfig: Action = async (context, _args, options) => {
  await using cri = context;
  const podCidr = options["podCidr"];
  if (typeof podCidr !== "string")
    throw invalidArgument("nothing to update", { hint: "use --pod-cidr 10.244.0.0/24" });
  await (await cri.runtime())
    .updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } }, cri.options())
    .catch((err: unknown) => {
      throw wrap(err, "update runtime config");
    });
  process.stderr.write("Runtime config successfully updated\n");
  return 0;
};
