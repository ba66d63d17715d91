/** `-info`: what this shim and its OCI runtime are and can do. */
import { revision, version } from "../../src/lib/version.ts";
import { Any, RuntimeInfo } from "../shared/messages.ts";
import { decode, encode } from "../shared/wire.ts";
import { parseOptions, runcOf } from "./options.ts";

const FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/** @param stdin runtime options in an Any, or nothing. @returns RuntimeInfo to print */
export async function info(stdin: Uint8Array): Promise<Uint8Array> {
  const options = stdin.length === 0 ? undefined : decode(Any, stdin);
  const features = await runcOf(parseOptions(options), "", "/tmp")
    .features()
    .catch(() => undefined);
  return encode(RuntimeInfo, {
    name: "io.containerd.runc.v2",
    version: { version, revision },
    ...(options === undefined ? {} : { options }),
    ...(features === undefined ? {} : { features: { typeUrl: FEATURES, value: new Uint8Array(features) } }),
  });
}
