/** Puts the registry client together: one {@link Registry} per process or command, one session per reference. */
import { type Logger, noLog } from "../core/log.ts";
import type { Descriptor } from "../core/oci.ts";
import { parseReference, type Reference } from "../oci/reference.ts";
import { Authorizer } from "./auth.ts";
import { checkHosts, type HostCheck, ping } from "./check.ts";
import { type ClientLimits, RegistryClient } from "./client.ts";
import { dockerConfigSource, firstOf, type RunHelper } from "./credentials.ts";
import { type DumpOptions, dumpingSend } from "./dump.ts";
import { Fetcher, type FetchLimits } from "./fetcher.ts";
import { type HostsConfig, hostsFor } from "./hosts.ts";
import { Pusher } from "./pusher.ts";
import { resolve, type Session } from "./resolver.ts";
import { type HttpRequest, type HttpResponse, Transport, type TransportOptions } from "./transport.ts";
import type { CredentialSource } from "./types.ts";

/** How to reach registries. */
export interface RegistryOptions {
  readonly hosts?: HostsConfig;
  /** Asked first. */
  readonly credentials?: CredentialSource;
  /** Docker's client configuration: its path, or false to ignore it. Default: the usual place. */
  readonly dockerConfig?: string | false;
  /** Starts credential helpers; without it none are used. */
  readonly runHelper?: RunHelper | undefined;
  readonly transport?: TransportOptions;
  readonly limits?: ClientLimits & FetchLimits;
  /** Writes requests down. */
  readonly dump?: DumpOptions | undefined;
  readonly log?: Logger;
}

/** A client for registries. Close it. */
export class Registry implements AsyncDisposable {
  readonly #options: RegistryOptions;
  readonly #transport: Transport;
  readonly #schemes = new Map<string, Promise<"http" | "https">>();

  constructor(options: RegistryOptions = {}) {
    this.#options = options;
    this.#transport = new Transport(options.transport);
  }

  /** Opens a session for a full reference; the configuration is read now. @throws invalid-argument */
  async session(
    text: string,
    override: { credentials?: CredentialSource; hosts?: HostsConfig; dump?: DumpOptions | undefined } = {},
  ): Promise<RegistrySession> {
    const ref = parseReference(text);
    const log = this.#options.log ?? noLog;
    const hosts = await hostsFor(ref.host, { log, ...(override.hosts ?? this.#options.hosts) });
    const docker = this.#options.dockerConfig;
    const sources = [
      ...(override.credentials === undefined ? [] : [override.credentials]),
      ...(this.#options.credentials === undefined ? [] : [this.#options.credentials]),
      // What the configuration names for a host beats Docker's file.
      async (host: string) => hosts.find((h) => h.host === host)?.credentials,
      ...(docker === false ? [] : [dockerConfigSource(docker, this.#options.runHelper)]),
    ];
    const credentials = firstOf(sources);
    const dump = override.dump ?? this.#options.dump;
    const plain = (r: HttpRequest): Promise<HttpResponse> => this.#transport.send(r);
    const send = dump === undefined ? plain : dumpingSend(plain, dump);
    const auth = new Authorizer(credentials, text, send, this.#options.limits?.stall);
    const client = new RegistryClient({ send }, auth, this.#schemes, this.#options.limits, log);
    return new RegistrySession(
      { ref, text, hosts, client, credentials, stall: this.#options.limits?.stall },
      this.#options.limits,
    );
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    await this.#transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Registry operations for one reference. */
export class RegistrySession {
  readonly ref: Reference;
  readonly fetcher: Fetcher;
  readonly pusher: Pusher;
  readonly #session: Session;

  constructor(session: Session, limits: FetchLimits = {}) {
    this.ref = session.ref;
    this.#session = session;
    this.fetcher = new Fetcher(session, limits);
    this.pusher = new Pusher(session, limits.initialDelayMs);
  }

  /** Descriptor of what the reference names. @throws see resolver.ts */
  resolve(signal: AbortSignal): Promise<Descriptor> {
    return resolve(this.#session, signal);
  }

  /** Asks every host in turn and tells what answered: for `ctr registry check`. Never throws. */
  check(signal: AbortSignal): Promise<HostCheck[]> {
    return checkHosts(this.#session, signal);
  }

  /** Asks the registry itself, not its mirrors, whether it is one and takes our credentials. @throws see check.ts */
  ping(signal: AbortSignal): Promise<void> {
    return ping(this.#session, signal);
  }
}
