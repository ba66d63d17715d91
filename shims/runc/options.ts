/** Options of the runc runtime, as the client sends them and as they are kept in the bundle for `delete`. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, fromJsonString, toJsonString } from "@bufbuild/protobuf";
import { type Options, OptionsSchema } from "../../src/api/gen/containerd/types/runc/options/oci_pb.ts";
import { invalidArgument } from "../../src/core/errors.ts";
import { Runc } from "./runc.ts";

const DEFAULT_ROOT = "/run/containerd/runc";

/** @throws invalid-argument when the blob is not what its type says */
export function parseOptions(
  any: { readonly typeUrl: string; readonly value: Uint8Array } | undefined,
): Options {
  if (any === undefined || any.value.length === 0 || !any.typeUrl.endsWith("containerd.runc.v1.Options"))
    return create(OptionsSchema);
  try {
    return fromBinary(OptionsSchema, any.value);
  } catch (error) {
    throw invalidArgument(`read runtime options "${any.typeUrl}": not a message of this type`, {
      cause: error,
    });
  }
}

/** Keeps the options in the bundle. */
export function saveOptions(bundle: string, options: Options): void {
  writeFileSync(
    join(bundle, "options.json"),
    toJsonString(OptionsSchema, options, { useProtoFieldName: true }),
    {
      mode: 0o600,
    },
  );
}

/** Reads them back; defaults when there are none. */
export function loadOptions(bundle: string): Options {
  try {
    return fromJsonString(OptionsSchema, readFileSync(join(bundle, "options.json"), "utf8"), {
      ignoreUnknownFields: true,
    });
  } catch {
    return create(OptionsSchema);
  }
}

/** The runtime these options name, for containers of one namespace. */
export function runcOf(options: Options, namespace: string, bundle: string): Runc {
  return new Runc(
    {
      binary: options.binaryName === "" ? "runc" : options.binaryName,
      root: join(options.root === "" ? DEFAULT_ROOT : options.root, namespace),
      systemdCgroup: options.systemdCgroup,
      noPivotRoot: options.noPivotRoot,
      noNewKeyring: options.noNewKeyring,
      criuImagePath: options.criuImagePath,
      criuWorkPath: options.criuWorkPath,
    },
    join(bundle, "log.json"),
  );
}
