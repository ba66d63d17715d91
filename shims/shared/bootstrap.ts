/**
 * The two ways a daemon talks to `shim start`:
 * - old (containerd up to 2.2): stdin is a protobuf `Any` with the runtime options, addresses come by flags and environment,
 *   the answer is a bare address (task API v2 over ttrpc) which every such daemon reads;
 * - new (2.3 and later): stdin is `BootstrapParams`, the answer `BootstrapResult`, both protobuf.
 */
import { invalidArgument } from "../../src/core/errors.ts";
import type { ShimArgs } from "./args.ts";
import { Any, BootstrapParams, BootstrapResult } from "./messages.ts";
import { decode, encode, type Message, type MessageInit } from "./wire.ts";

type AnyMessage = Message<(typeof Any)["fields"]>;

/** What a start needs to know, whatever the protocol. */
export interface Bootstrap {
  readonly protocol: "old" | "new";
  readonly id: string;
  readonly namespace: string;
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  /** "" for containerd's default. */
  readonly socketDir: string;
  readonly debug: boolean;
  /** Runtime options, when given. */
  readonly options: AnyMessage | undefined;
}

/** @throws invalid-argument when stdin is neither of the two messages */
export function readBootstrap(
  stdin: Uint8Array,
  args: ShimArgs,
  env: Readonly<Record<string, string | undefined>>,
): Bootstrap {
  const params = parseParams(stdin);
  if (params !== undefined) {
    return {
      protocol: "new",
      id: params.instanceId === "" ? args.id : params.instanceId,
      namespace: params.namespace === "" ? args.namespace : params.namespace,
      grpcAddress: params.containerdGrpcAddress === "" ? args.address : params.containerdGrpcAddress,
      ttrpcAddress:
        params.containerdTtrpcAddress === "" ? (env["TTRPC_ADDRESS"] ?? "") : params.containerdTtrpcAddress,
      socketDir: params.socketDir,
      debug: args.debug || params.logLevel < 0,
      options: extension(params.extensions.map((e) => e.value)),
    };
  }
  return {
    protocol: "old",
    id: args.id,
    namespace: args.namespace,
    grpcAddress: args.address,
    ttrpcAddress: env["TTRPC_ADDRESS"] ?? "",
    socketDir: "",
    debug: args.debug,
    options: parseAny(stdin),
  };
}

/** The runtime's options among the extensions. */
function extension(
  values: readonly (MessageInit<(typeof Any)["fields"]> | undefined)[],
): AnyMessage | undefined {
  const found = values.find((v) => v?.typeUrl?.endsWith("Options"));
  return found === undefined
    ? undefined
    : { typeUrl: found.typeUrl ?? "", value: found.value ?? new Uint8Array(0) };
}

/** Both messages begin with two length-delimited fields, but only BootstrapParams has more of them. */
function parseParams(stdin: Uint8Array): Message<(typeof BootstrapParams)["fields"]> | undefined {
  if (stdin.length === 0) return undefined;
  try {
    const params = decode(BootstrapParams, stdin);
    const more = [params.containerdGrpcAddress, params.containerdTtrpcAddress, params.containerdBinary];
    return more.some((text) => text !== "") || params.extensions.length > 0 || params.socketDir !== ""
      ? params
      : undefined;
  } catch {
    // The value of an Any need not be UTF-8, which the namespace at the same place has to be.
    return undefined;
  }
}

function parseAny(stdin: Uint8Array): AnyMessage | undefined {
  if (stdin.length === 0) return undefined;
  try {
    const any = decode(Any, stdin);
    return any.typeUrl === "" ? undefined : any;
  } catch (error) {
    throw invalidArgument("read bootstrap message on stdin: neither BootstrapParams nor Any", {
      cause: error,
    });
  }
}

/** What `start` prints. `maxVersion` is MAX_SHIM_VERSION of the daemon, 0 when it did not say. */
export function answerOf(
  protocol: Bootstrap["protocol"],
  address: string,
  maxVersion: number,
): Uint8Array<ArrayBuffer> {
  if (protocol === "new") {
    return encode(BootstrapResult, { version: 3, address, protocol: "ttrpc" });
  }
  // Every old daemon takes a bare address as "version 2 over ttrpc"; JSON is needed only to offer more than that.
  const text = maxVersion >= 3 ? JSON.stringify({ version: 3, address, protocol: "ttrpc" }) : address;
  return new TextEncoder().encode(text);
}
