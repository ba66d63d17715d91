/** Starts shims by runtime v2's public protocol, and asks them to clean up. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import {
  BootstrapParamsSchema,
  BootstrapResultSchema,
} from "../../api/gen/containerd/runtime/bootstrap/v1/bootstrap_pb.ts";
import { DeleteResponseSchema } from "../../api/gen/containerd/runtime/task/v3/shim_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { internal, notImplemented } from "../../core/errors.ts";
import type { DaemonFacts } from "../../core/plugin/plugin.ts";
import type { Exit } from "../../core/tasks/tasks.ts";
import { run } from "../../platform/process/spawn.ts";
import { execPath } from "../../platform/runtime.ts";
import { fromTimestamp, ownBytes } from "../../rpc/convert/basic.ts";
import { type Bundle, parseAddress, type ShimAddress } from "./bundle.ts";
import type { ShimCommand } from "./resolve.ts";
import { MAX_VERSION } from "./shim-api.ts";

/** Longest time a shim may take to start. Milliseconds. */
const START_MS = 30_000;

/** Facts a shim is told. */
export interface LaunchContext {
  readonly daemon: DaemonFacts;
  readonly debug: boolean;
  /** Extra environment from the config, `K=V`. */
  readonly env: readonly string[];
  readonly socketDir: string;
}

/** Starts a shim in its bundle. @throws unavailable, not-implemented (protocol), internal with the shim's own words */
export async function startShim(
  shim: ShimCommand,
  bundle: Bundle,
  options: AnyValue | undefined,
  context: LaunchContext,
): Promise<ShimAddress> {
  const start = (stdin: Uint8Array) =>
    call({ shim, bundle, context, action: "start", stdin, timeoutMs: START_MS });
  let result = await start(shim.own ? bootstrapParams(bundle, options, context) : legacyStdin(options));
  if (result.code !== 0 && !shim.own && /bootstrap|unmarshal/i.test(text(result.stderr))) {
    // shims of 2.3 and later read only the new message
    result = await start(bootstrapParams(bundle, options, context));
  }
  if (result.code !== 0) throw internal(`start shim "${shim.path}": ${lastWords(result)}`);
  return answer(result.stdout);
}

function answer(stdout: Uint8Array): ShimAddress {
  const plain = text(stdout).trim();
  if (/^(\{|unix:\/\/|\/)/.test(plain)) return checked(parseAddress(plain));
  const result = fromBinary(BootstrapResultSchema, stdout);
  if (result.protocol !== "ttrpc" && result.protocol !== "")
    throw notImplemented(`shim protocol "${result.protocol}"`);
  return checked(
    parseAddress(JSON.stringify({ version: result.version, address: result.address, protocol: "ttrpc" })),
  );
}

function checked(address: ShimAddress): ShimAddress {
  if (address.version > MAX_VERSION)
    throw notImplemented(`shim API version ${address.version}: newest spoken is ${MAX_VERSION}`);
  if (address.protocol !== "ttrpc") throw notImplemented(`shim protocol "${address.protocol}"`);
  return address;
}

function bootstrapParams(bundle: Bundle, options: AnyValue | undefined, context: LaunchContext): Uint8Array {
  return toBinary(
    BootstrapParamsSchema,
    create(BootstrapParamsSchema, {
      instanceId: bundle.id,
      namespace: bundle.namespace,
      containerdVersion: context.daemon.version,
      containerdTtrpcAddress: context.daemon.ttrpcAddress,
      containerdGrpcAddress: context.daemon.address,
      containerdBinary: execPath(),
      ...(options === undefined
        ? {}
        : { extensions: [{ value: { typeUrl: options.typeUrl, value: ownBytes(options.value) } }] }),
      ...(context.socketDir === "" ? {} : { socketDir: context.socketDir }),
    }),
  );
}

function legacyStdin(options: AnyValue | undefined): Uint8Array {
  if (options === undefined) return new Uint8Array();
  return toBinary(AnySchema, create(AnySchema, { typeUrl: options.typeUrl, value: ownBytes(options.value) }));
}

/** Asks a shim binary to clean up after a shim that died: kills, unmounts. @returns how the task ended, when it knows */
export async function deleteShim(
  shim: ShimCommand,
  bundle: Bundle,
  context: LaunchContext,
  timeoutMs: number,
): Promise<Exit | undefined> {
  const result = await call({
    shim,
    bundle,
    context,
    action: "delete",
    stdin: new Uint8Array(),
    timeoutMs,
    flags: ["-bundle", bundle.path],
  });
  if (result.code !== 0) throw internal(`delete shim "${bundle.id}": ${lastWords(result)}`);
  if (result.stdout.length === 0) return undefined;
  const response = fromBinary(DeleteResponseSchema, result.stdout);
  return { pid: response.pid, status: response.exitStatus, exitedAt: fromTimestamp(response.exitedAt) };
}

/** Runs `shim -info` with options on stdin. @returns RuntimeInfo bytes */
export async function shimInfo(
  shim: ShimCommand,
  options: AnyValue | undefined,
  timeoutMs: number,
): Promise<Uint8Array> {
  const { command, prefix, argv0 } = shim;
  const result = await run(command, [...prefix, "-info"], {
    stdin: legacyStdin(options),
    timeoutMs,
    ...(argv0 === undefined ? {} : { argv0 }),
  });
  if (result.code !== 0) throw internal(`ask shim "${shim.path}" for its info: ${lastWords(result)}`);
  return result.stdout;
}

/** One call of a shim's program. */
interface ShimCall {
  readonly shim: ShimCommand;
  readonly bundle: Bundle;
  readonly context: LaunchContext;
  readonly action: "start" | "delete";
  readonly stdin: Uint8Array;
  readonly timeoutMs: number;
  /** Flags besides the usual ones. */
  readonly flags?: readonly string[];
}

async function call({ shim, bundle, context, action, stdin, timeoutMs, flags = [] }: ShimCall) {
  const { daemon } = context;
  const args = [
    ...shim.prefix,
    "-namespace",
    bundle.namespace,
    "-address",
    daemon.address,
    "-publish-binary",
    execPath(),
    "-id",
    bundle.id,
    ...flags,
    ...(context.debug ? ["-debug"] : []),
    action,
  ];
  const env: Record<string, string | undefined> = {
    ...process.env,
    GOMAXPROCS: "2",
    MAX_SHIM_VERSION: String(MAX_VERSION),
    TTRPC_ADDRESS: daemon.ttrpcAddress,
    GRPC_ADDRESS: daemon.address,
    NAMESPACE: bundle.namespace,
    // supervision of the daemon is not the shim's
    NOTIFY_SOCKET: undefined,
    WATCHDOG_USEC: undefined,
    WATCHDOG_PID: undefined,
  };
  for (const pair of context.env) env[pair.slice(0, pair.indexOf("="))] = pair.slice(pair.indexOf("=") + 1);
  return await run(shim.command, args, {
    stdin,
    env,
    cwd: bundle.path,
    until: "exit",
    timeoutMs,
    ...(shim.argv0 === undefined ? {} : { argv0: shim.argv0 }),
  });
}

function lastWords(result: { code: number; stdout: Uint8Array; stderr: Uint8Array }): string {
  const words = text(result.stderr).trim() || text(result.stdout).trim();
  return words === "" ? `exit code ${result.code}` : words.split("\n").slice(-3).join("; ");
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
