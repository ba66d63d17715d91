/** Runtime options of containers and tasks from flags. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { OptionsSchema } from "../../api/gen/containerd/types/runc/options/oci_pb.ts";
import { OptionsSchema as GenericOptionsSchema } from "../../api/gen/containerd/types/runtimeoptions/v1/api_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { textOf } from "./context.ts";

const RUNC = "io.containerd.runc.v2";

/** Options of `--runtime` from the --runc-* flags or --runtime-config-path; undefined when none applies. */
export function runtimeOptions(
  runtime: string,
  options: Readonly<Record<string, unknown>>,
): AnyValue | undefined {
  const path = textOf(options, "runtimeConfigPath");
  if (path !== "") {
    const made = create(GenericOptionsSchema, { configPath: path });
    return { typeUrl: GenericOptionsSchema.typeName, value: toBinary(GenericOptionsSchema, made) };
  }
  const binaryName = textOf(options, "runcBinary");
  const root = textOf(options, "runcRoot");
  const systemdCgroup = options["runcSystemdCgroup"] === true;
  if (runtime !== RUNC && binaryName === "" && root === "" && !systemdCgroup) return undefined;
  return pack(create(OptionsSchema, { binaryName, root, systemdCgroup }));
}

/** Options of a task: the container's, with what the task's flags change; undefined keeps the container's. */
export function taskOptions(
  runtime: { name: string; options?: AnyValue | undefined },
  options: Readonly<Record<string, unknown>>,
): AnyValue | undefined {
  if (options["noPivot"] !== true && options["pivot"] !== false) return undefined;
  const base =
    runtime.options?.typeUrl.endsWith(OptionsSchema.typeName) === true
      ? fromBinary(OptionsSchema, runtime.options.value)
      : create(OptionsSchema);
  return pack({ ...base, noPivotRoot: true });
}

function pack(message: ReturnType<typeof create<typeof OptionsSchema>>): AnyValue {
  return { typeUrl: OptionsSchema.typeName, value: toBinary(OptionsSchema, message) };
}
