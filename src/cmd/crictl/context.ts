/** What every command starts from: the settings, the connections, and calls with their deadlines. */
import { setTimeout as delay } from "node:timers/promises";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ImageService, RuntimeService } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import {
  canceled,
  type GantryError,
  invalidArgument,
  isCanceled,
  isUnavailable,
  messageOf,
  unavailable,
} from "../../core/errors.ts";
import { createClient } from "../../rpc/client.ts";
import type { ConnectAddress } from "../../rpc/connect.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import type { Client, ClientCallOptions, Transport } from "../../rpc/types.ts";
import { interrupted, interruptStatus } from "../shared/interrupt.ts";
import { DEFAULT_ENDPOINTS, resolveSettings, type Settings } from "./settings.ts";

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;

/** One run of crictl. */
export class CriContext implements AsyncDisposable {
  readonly settings: Settings;
  /** The flags before the command. */
  readonly globals: Readonly<Record<string, unknown>>;
  readonly #transports = new Map<string, Transport>();
  #default: Promise<string> | undefined;

  constructor(globals: Record<string, unknown>) {
    this.globals = globals;
    // the command `config` works on a file that may be missing
    let settings: Settings | undefined;
    let failed: unknown;
    try {
      settings = resolveSettings(globals);
    } catch (err) {
      failed = err;
    }
    this.settings = settings ?? resolveSettings({ ...globals, config: "/dev/null", timeout: undefined });
    this.#failed = failed;
  }
  readonly #failed: unknown;

  /** The runtime service. @throws unavailable, with what to do */
  async runtime(): Promise<Client<typeof RuntimeService>> {
    return createClient(RuntimeService, this.#wrapped(await this.runtimeEndpoint()));
  }

  /** The image service. @throws unavailable */
  async images(): Promise<Client<typeof ImageService>> {
    return createClient(ImageService, this.#wrapped(await this.imageEndpoint()));
  }

  /** A transport to the image endpoint for other services there. */
  async imageTransport(): Promise<Transport> {
    return this.#transport(await this.imageEndpoint());
  }

  async runtimeEndpoint(): Promise<string> {
    if (this.#failed !== undefined) throw this.#failed;
    if (this.settings.runtimeEndpoint !== "") return this.settings.runtimeEndpoint;
    this.#default ??= this.#find();
    return this.#default;
  }

  async imageEndpoint(): Promise<string> {
    const { imageEndpoint } = this.settings;
    if (this.#failed === undefined && imageEndpoint !== "") return imageEndpoint;
    return this.runtimeEndpoint();
  }

  /**
   * Options of a call: ended by SIGINT and by the timeout.
   * @param factor times the timeout; 0 for no timeout
   * @param extraMs on top of it
   */
  options(factor = 1, extraMs = 0): ClientCallOptions {
    const timeoutMs = factor === 0 ? undefined : this.settings.timeoutMs * factor + extraMs;
    return { signal: interrupted(), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  }

  /** Options of a call with a timeout of its own. */
  within(ms: number): ClientCallOptions {
    return { signal: interrupted(), timeoutMs: ms };
  }

  /** A line on stderr when --debug is given. */
  debug(text: () => string): void {
    if (this.settings.debug) process.stderr.write(`crictl: debug: ${text()}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#transports.values()].map((transport) => transport.close()));
  }

  /** The first known socket behind which a CRI engine answers. */
  async #find(): Promise<string> {
    const why: string[] = [];
    for (const endpoint of DEFAULT_ENDPOINTS) {
      this.debug(() => `try ${endpoint}`);
      try {
        await createClient(RuntimeService, this.#transport(endpoint)).version({}, this.options());
        return endpoint;
      } catch (err) {
        if (isCanceled(err)) throw err;
        why.push(`${endpoint}: ${messageOf(err).replace(/^connect to "[^"]*": /, "")}`);
      }
    }
    throw unavailable(`find a CRI engine: no known endpoint answers\n          ${why.join("\n          ")}`, {
      hint: why.some((line) => line.endsWith("permission denied"))
        ? "run as root (sudo crictl ...), or be a member of the socket's group"
        : "start an engine, or name its socket: crictl --runtime-endpoint unix:///PATH, or runtime-endpoint in /etc/crictl.yaml",
    });
  }

  #transport(endpoint: string): Transport {
    const known = this.#transports.get(endpoint);
    if (known !== undefined) return known;
    const made = createGrpcTransport(addressOf(endpoint), {
      connectTimeoutMs: this.settings.timeoutMs,
      userAgent: "crictl-gantry",
    });
    this.#transports.set(endpoint, made);
    return made;
  }

  /** A transport that says what it does with --debug, and tries again when nobody listens (yet). */
  #wrapped(endpoint: string): Transport {
    const inner = this.#transport(endpoint);
    const self = this;
    return {
      async unary<I extends DescMessage, O extends DescMessage>(
        method: DescMethod & { input: I; output: O },
        request: MessageInitShape<I>,
        options?: ClientCallOptions,
      ): Promise<MessageShape<O>> {
        self.debug(() => `${method.name}: ${plain(request)}`);
        const answer = await self.#retry(endpoint, () => inner.unary(method, request, options));
        self.debug(() => `${method.name} answered: ${plain(answer)}`);
        return answer;
      },
      stream(method, requests, options) {
        self.debug(() => `${method.name} (stream)`);
        return inner.stream(method, requests, options);
      },
      close: () => inner.close(),
      [Symbol.asyncDispose]: () => inner.close(),
    };
  }

  async #retry<T>(endpoint: string, call: () => Promise<T>): Promise<T> {
    const { maxRetries } = this.settings;
    for (let attempt = 1, wait = FIRST_RETRY_MS; ; attempt++, wait = Math.min(wait * 2, LAST_RETRY_MS)) {
      try {
        return await call();
      } catch (err) {
        const connecting = isUnavailable(err) && messageOf(err).startsWith('connect to "');
        if (!connecting) throw interruptedError(err);
        const denied = /permission denied/.test(messageOf(err));
        if (denied || this.settings.runtimeEndpoint === "" || (maxRetries >= 0 && attempt > maxRetries))
          throw withHint(err, endpoint);
        this.debug(() => `${messageOf(err)}; next try in ${wait} ms`);
        await delay(wait, undefined, { signal: interrupted() }).catch(() => {
          throw canceled("interrupted");
        });
      }
    }
  }
}

function plain(message: unknown): string {
  return JSON.stringify(message, (key, value: unknown) => {
    if (key === "$typeName" || key === "$unknown") return undefined;
    // a streaming url works for whoever has it
    if (/password|^auth$|token|^url$/i.test(key) && value !== "") return "***";
    if (value instanceof Uint8Array) return Buffer.from(value).toString("utf8");
    return typeof value === "bigint" ? value.toString() : value;
  });
}

function interruptedError(err: unknown): unknown {
  return isCanceled(err) && interruptStatus() !== undefined ? canceled("interrupted") : err;
}

function withHint(err: unknown, endpoint: string): GantryError {
  const hint = `start the engine (systemctl start containerd), or name its endpoint instead of ${endpoint}: --runtime-endpoint, /etc/crictl.yaml`;
  const denied = /permission denied/.test(messageOf(err));
  return unavailable(messageOf(err), { cause: err, hint: denied ? "run as root" : hint });
}

/** @throws invalid-argument for what is no address of an engine */
export function addressOf(endpoint: string): ConnectAddress {
  const path = /^(?:unix:\/\/)?(\/.*|@.+)$/.exec(endpoint)?.[1];
  if (path !== undefined) return { path };
  const tcp = /^tcp:\/\/(?:\[([^\]]+)\]|([^:/]+)):(\d+)\/?$/.exec(endpoint);
  if (tcp !== null) return { host: tcp[1] ?? tcp[2] ?? "", port: Number(tcp[3]) };
  throw invalidArgument(`endpoint "${endpoint}": not an address`, {
    hint: "use unix:///run/containerd/containerd.sock or tcp://HOST:PORT",
  });
}
