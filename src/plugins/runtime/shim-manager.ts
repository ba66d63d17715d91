/**
 * The plugin `io.containerd.shim.v1.manager`: starts shims, for tasks and for sandboxes. Our own take the short way (a spare
 * that waits already), all others runtime v2's public protocol.
 */
import { groupOf, SHARED_GROUP, socketPath } from "../../../shims/shared/address.ts";
import type { AnyValue } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { defineKind, definePlugin } from "../../core/plugin/plugin.ts";
import { parseDuration } from "../../lib/human.ts";
import { listens } from "../../platform/net/unix.ts";
import { NAMESPACE_HEADER } from "../../rpc/headers.ts";
import { createTtrpcTransport } from "../../rpc/ttrpc/transport.ts";
import { type Bundle, type Kept, type ShimAddress, writeAddress } from "./bundle.ts";
import { type LaunchContext, startShim } from "./launch.ts";
import { OWN_RUNTIME, resolveShim, type ShimCommand } from "./resolve.ts";
import { MAX_VERSION, shimApi } from "./shim-api.ts";
import { SpareShims } from "./spares.ts";

/** Longest folder for shim sockets: the name below it has 64 characters and the kernel's limit is 107. */
const MAX_SOCKET_DIR = 42;

/** Longest time a shim may take to end when nothing was made in it. Milliseconds. */
const END_MS = 5000;

/** Which containers share a shim of ours: those of a pod, of a namespace, or all. */
export type Sharing = (typeof SHARING)[number];
const SHARING = ["pod", "namespace", "node"] as const;

/** A shim to work with. */
export interface FoundShim {
  readonly address: ShimAddress;
  /** It ran before, for others of its group: it may be about to end. */
  readonly joined: boolean;
}

/** What a shim is started for. */
export interface ShimRequest {
  readonly bundle: Bundle;
  readonly shim: ShimCommand;
  /** The OCI spec, or a sandbox's; ours look into it for the group. */
  readonly spec: Uint8Array;
  /** Options of the runtime, for shims of others. */
  readonly options: AnyValue | undefined;
  /** Cgroup that a shim of ours moves to; "" stays. */
  readonly cgroup: string;
  /** What a later daemon finds beside the address. */
  readonly kept?: Kept | undefined;
}

/** What the starter works with. */
export interface ShimStarterParts {
  readonly launch: LaunchContext;
  readonly spares: SpareShims;
  readonly sharing: Sharing;
  /** Quiet time before our shims sleep, 0 for never. */
  readonly sleepAfterMs: number;
}

/** See the file's comment. */
export class ShimStarter {
  readonly launch: LaunchContext;
  readonly #spares: SpareShims;
  readonly #sharing: Sharing;
  readonly #sleepAfterMs: number;

  constructor({ launch, spares, sharing, sleepAfterMs }: ShimStarterParts) {
    this.launch = launch;
    this.#spares = spares;
    this.#sharing = sharing;
    this.#sleepAfterMs = sleepAfterMs;
  }

  /** Starts the shim of a bundle, or finds that of its group, and writes down where it listens. */
  async start(request: ShimRequest): Promise<FoundShim> {
    const { bundle, shim, options, kept } = request;
    if (shim.own) return await this.#startOwn(request);
    const address = await startShim(shim, bundle, options, this.launch);
    try {
      writeAddress(bundle, address, shim.path, kept);
    } catch (err) {
      // nobody would find it again
      await endUnused(address, bundle);
      throw err;
    }
    return { address, joined: false };
  }

  async #startOwn({ bundle, shim, spec, cgroup, kept }: ShimRequest): Promise<FoundShim> {
    const { daemon, debug } = this.launch;
    const { socket, shared } = this.#socketOf(bundle, spec);
    const address = { version: MAX_VERSION, address: socket, protocol: "ttrpc" };
    // where it will listen is known: written first, so that a daemon that ends now, or cannot write, leaves no shim that nobody finds
    writeAddress(bundle, address, shim.path, kept);
    if (shared && isListening(socket)) return { address, joined: true };
    const { status } = await this.#spares.launch({
      namespace: bundle.namespace,
      id: bundle.id,
      bundle: bundle.path,
      socket,
      ttrpcAddress: daemon.ttrpcAddress,
      debug,
      shimCgroup: cgroup,
      sleepAfterMs: this.#sleepAfterMs,
    });
    return { address, joined: status === "exists" };
  }

  #socketOf({ namespace, id }: Bundle, spec: Uint8Array): { socket: string; shared: boolean } {
    const { daemon, socketDir } = this.launch;
    const path = (of: string, group: string): string => socketPath(socketDir, daemon.address, of, group);
    if (this.#sharing === "node") return { socket: path("", SHARED_GROUP), shared: true };
    if (this.#sharing === "namespace") return { socket: path(namespace, SHARED_GROUP), shared: true };
    const group = groupOf(id, annotationsOf(spec));
    return { socket: path(namespace, group), shared: group !== id };
  }
}

/** Ends a shim in which nothing was made. One of a group, with tasks of others, stays. */
async function endUnused({ address, version }: ShimAddress, { id, namespace }: Bundle): Promise<void> {
  await using transport = createTtrpcTransport({ path: address });
  const headers = new Map([[NAMESPACE_HEADER, [namespace]]]);
  await shimApi(transport, version)
    .shutdown({ id, now: false }, { headers, timeoutMs: END_MS })
    .catch(() => {
      // a shim that ends answers with a closed connection
    });
}

/** True when a shim listens there; whether it would answer is not asked. */
export function isListening(socket: string): boolean {
  try {
    return listens(socket);
  } catch {
    // a name no socket can have: nobody listens
    return false;
  }
}

function annotationsOf(spec: Uint8Array): Record<string, unknown> | undefined {
  if (spec.length === 0) return undefined;
  try {
    return (JSON.parse(new TextDecoder().decode(spec)) as { annotations?: Record<string, unknown> })
      .annotations;
  } catch {
    // a sandbox's spec is what its shim wants it to be
    return undefined;
  }
}

/** The kind of the plugin; only the plugins of this folder use it. */
export const SHIMS = defineKind<ShimStarter>("io.containerd.shim.v1");

interface Config {
  readonly env: readonly string[];
  readonly socketDir: string;
  /** Own shims kept waiting; each costs some MB of memory. */
  readonly spares: number;
  readonly sharing: Sharing;
  readonly sleepAfterMs: number;
}

export default definePlugin({
  kind: SHIMS,
  id: "manager",
  requires: {},
  config: {
    defaults: { env: [], socket_dir: "", spare_shims: 1, share_shims: "pod", shim_sleep_after: "10s" },
    parse(table): Config {
      const env = table["env"];
      const socketDir = String(table["socket_dir"] ?? "");
      if (socketDir.length > MAX_SOCKET_DIR)
        throw invalidArgument(`socket_dir "${socketDir}": longer than ${MAX_SOCKET_DIR} bytes`);
      const spares = Number(table["spare_shims"]);
      if (!Number.isInteger(spares) || spares < 0 || spares > 64)
        throw invalidArgument("spare_shims: must be a whole number from 0 to 64");
      const sharing = SHARING.find((known) => known === table["share_shims"]);
      if (sharing === undefined)
        throw invalidArgument(
          `share_shims "${String(table["share_shims"])}": must be pod, namespace or node`,
        );
      const sleepAfterMs = sleepTime(String(table["shim_sleep_after"]));
      return { spares, sharing, sleepAfterMs, env: Array.isArray(env) ? env.map(String) : [], socketDir };
    },
  },
  onFailure: "fatal",
  init(host, _deps, config) {
    const { daemon } = host;
    const spares = makeSpares(config.spares, host.log);
    host.onServe(async () => spares.fillLater());
    host.onStop(async () => spares.stop());
    const launch = { daemon, debug: false, env: config.env, socketDir: config.socketDir };
    return new ShimStarter({ launch, spares, sharing: config.sharing, sleepAfterMs: config.sleepAfterMs });
  },
});

/** @returns milliseconds. @throws invalid-argument */
function sleepTime(text: string): number {
  try {
    const ns = parseDuration(text);
    if (ns >= 0n) return Math.ceil(Number(ns) / 1e6);
  } catch {
    // told below
  }
  throw invalidArgument(`shim_sleep_after "${text}": must be a duration such as "10s", or "0" for never`);
}

function makeSpares(size: number, log: Logger): SpareShims {
  return new SpareShims(resolveShim(OWN_RUNTIME, undefined), size, log);
}
