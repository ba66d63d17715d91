/** Options of the runc runtime, as the client sends them and as they are kept in the bundle for `delete`. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument } from "../../src/core/errors.ts";
import { Options as OptionsType } from "../shared/messages.ts";
import { decode, type Message } from "../shared/wire.ts";
import { Runc } from "./runc.ts";

export type Options = Message<(typeof OptionsType)["fields"]>;

const DEFAULT_ROOT = "/run/containerd/runc";

/** @throws invalid-argument when the blob is not what its type says */
export function parseOptions(
  any: { readonly typeUrl?: string | undefined; readonly value?: Uint8Array | undefined } | undefined,
): Options {
  if (any?.value === undefined || any.typeUrl?.endsWith("containerd.runc.v1.Options") !== true)
    return defaults();
  try {
    return decode(OptionsType, any.value);
  } catch (error) {
    throw invalidArgument(`read runtime options "${any.typeUrl}": not a message of this type`, {
      cause: error,
    });
  }
}

const defaults = (): Options => decode(OptionsType, new Uint8Array(0));

/** Keeps the options in the bundle, where they say something. */
export function saveOptions(bundle: string, options: Options): void {
  const text = JSON.stringify(options);
  if (text === JSON.stringify(defaults())) return;
  writeFileSync(join(bundle, "options.json"), text, { mode: 0o600 });
}

/** Reads them back; defaults when there are none. */
export function loadOptions(bundle: string): Options {
  try {
    const kept = JSON.parse(readFileSync(join(bundle, "options.json"), "utf8")) as Partial<Options>;
    return { ...defaults(), ...kept };
  } catch {
    return defaults();
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
