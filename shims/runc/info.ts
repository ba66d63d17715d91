/** `-info`: what this shim and its OCI runtime are and can do. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { RuntimeInfoSchema } from "../../src/api/gen/containerd/types/introspection_pb.ts";
import { revision, version } from "../../src/lib/version.ts";
import { parseOptions, runcOf } from "./options.ts";

const FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/** @param stdin runtime options in an Any, or nothing. @returns RuntimeInfo to print */
export async function info(stdin: Uint8Array): Promise<Uint8Array> {
  const options = stdin.length === 0 ? undefined : fromBinary(AnySchema, stdin);
  const features = await runcOf(parseOptions(options), "", "/tmp")
    .features()
    .catch(() => undefined);
  return toBinary(
    RuntimeInfoSchema,
    create(RuntimeInfoSchema, {
      name: "io.containerd.runc.v2",
      version: { version, revision },
      ...(options === undefined ? {} : { options }),
      ...(features === undefined ? {} : { features: { typeUrl: FEATURES, value: new Uint8Array(features) } }),
    }),
  );
}
