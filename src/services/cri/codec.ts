/** CRI messages to bytes and back, and the options of runtimes, for the pod domain (which knows messages as types only). */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  ImageCreateSchema,
  ImageDeleteSchema,
  ImageUpdateSchema,
} from "../../api/gen/containerd/events/image_pb.ts";
import { TaskExitSchema, TaskOOMSchema } from "../../api/gen/containerd/events/task_pb.ts";
import { RuntimeInfoSchema, RuntimeRequestSchema } from "../../api/gen/containerd/types/introspection_pb.ts";
import {
  CheckpointOptionsSchema,
  OptionsSchema as RuncOptionsSchema,
} from "../../api/gen/containerd/types/runc/options/oci_pb.ts";
import { OptionsSchema } from "../../api/gen/containerd/types/runtimeoptions/v1/api_pb.ts";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import type { RuntimeHandler } from "../../cri/config.ts";
import type { CriCodec } from "../../cri/deps.ts";
import { toAny } from "../../rpc/convert/basic.ts";

/** Asks a runtime about itself (introspection's PluginInfo). */
export type RuntimeInfoSource = (question: AnyValue) => Promise<AnyValue | undefined>;

export function createCodec(runtimeInfo: RuntimeInfoSource): CriCodec {
  return {
    encodePodConfig: (config) => toBinary(PodSandboxConfigSchema, config),
    decodePodConfig: (bytes) => fromBinary(PodSandboxConfigSchema, bytes),
    encodeContainerConfig: (config) => toBinary(ContainerConfigSchema, config),
    decodeContainerConfig: (bytes) => fromBinary(ContainerConfigSchema, bytes),
    runtimeOptions,
    checkpointOptions: (imagePath, workPath) => ({
      typeUrl: CheckpointOptionsSchema.typeName,
      value: toBinary(CheckpointOptionsSchema, create(CheckpointOptionsSchema, { imagePath, workPath })),
    }),
    async runtimeFeatures(handler) {
      const options = runtimeOptions(handler);
      const request = create(RuntimeRequestSchema, {
        runtimePath: handler.path === "" ? handler.type : handler.path,
        ...(options === undefined ? {} : { options: toAny(options) }),
      });
      const answer = await runtimeInfo({
        typeUrl: RuntimeRequestSchema.typeName,
        value: toBinary(RuntimeRequestSchema, request),
      });
      if (answer === undefined) return undefined;
      const { features } = fromBinary(RuntimeInfoSchema, answer.value);
      if (features === undefined || features.value.length === 0) return undefined;
      return JSON.parse(new TextDecoder().decode(features.value)) as Readonly<Record<string, unknown>>;
    },
    imageEvent(event) {
      const schema = [ImageCreateSchema, ImageUpdateSchema, ImageDeleteSchema].find((s) =>
        event.typeUrl.endsWith(s.typeName),
      );
      return schema === undefined ? undefined : fromBinary(schema, event.value).name;
    },
    taskEvent(event) {
      if (event.typeUrl.endsWith(TaskOOMSchema.typeName)) {
        const { containerId } = fromBinary(TaskOOMSchema, event.value);
        return { containerId, execId: "" };
      }
      if (!event.typeUrl.endsWith(TaskExitSchema.typeName)) return undefined;
      const { containerId, id } = fromBinary(TaskExitSchema, event.value);
      return { containerId, execId: id === containerId ? "" : id };
    },
  };
}

/** runc's own options for runc's type, the generic ones (a TOML file or its text) for others. */
function runtimeOptions(handler: RuntimeHandler): AnyValue | undefined {
  const { options, type } = handler;
  const text = (key: string): string => (typeof options[key] === "string" ? options[key] : "");
  const flag = (key: string): boolean => options[key] === true;
  const whole = (key: string): number => Number(options[key] ?? 0);
  if (type === "io.containerd.runc.v2") {
    const message = create(RuncOptionsSchema, {
      noPivotRoot: flag("NoPivotRoot"),
      noNewKeyring: flag("NoNewKeyring"),
      shimCgroup: text("ShimCgroup"),
      ioUid: whole("IoUid"),
      ioGid: whole("IoGid"),
      binaryName: text("BinaryName"),
      root: text("Root"),
      systemdCgroup: flag("SystemdCgroup"),
      criuImagePath: text("CriuImagePath"),
      criuWorkPath: text("CriuWorkPath"),
    });
    return { typeUrl: RuncOptionsSchema.typeName, value: toBinary(RuncOptionsSchema, message) };
  }
  if (Object.keys(options).length === 0) return undefined;
  const message = create(OptionsSchema, {
    typeUrl: text("TypeUrl"),
    configPath: text("ConfigPath"),
    configBody: new TextEncoder().encode(text("ConfigBody")),
  });
  return { typeUrl: OptionsSchema.typeName, value: toBinary(OptionsSchema, message) };
}
