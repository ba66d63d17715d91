/** `io.containerd.transfer.v1.local`: transfers between registries, the stores and client streams. */
import type { AnyValue } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { internal, notImplemented } from "../../core/errors.ts";
import type { ChainId } from "../../core/ids/digest.ts";
import type { Image } from "../../core/images/images.ts";
import {
  DIFF_SERVICE,
  DIFFER,
  METADATA,
  SNAPSHOTTER,
  STREAMING,
  TRANSFER,
  VERIFIER,
} from "../../core/plugin/kinds.ts";
import { all, definePlugin, one } from "../../core/plugin/plugin.ts";
import type { StreamManager } from "../../core/streaming/streaming.ts";
import type {
  ImageTransfer,
  ImportRequest,
  PullOutcome,
  PullRequest,
  UnpackRequest,
} from "../../core/transfer/transfer.ts";
import { lazyAsync } from "../../lib/lazy.ts";
import { hostPlatform, matchAll, matchAny, matchOnly } from "../../oci/platform.ts";
import type { DumpOptions } from "../../registry/dump.ts";
import { type HostsConfig, splitConfigPath } from "../../registry/hosts.ts";
import type { Registry, RegistrySession } from "../../registry/registry.ts";
import { readBytes, writeBytes } from "./byte-streams.ts";
import { parseTransferConfig, type TransferConfig, transferDefaults } from "./config.ts";
import { createContext, type OnProgress, type TransferContext } from "./context.ts";
import { runHelper } from "./credential-helper.ts";
import { exportArchive } from "./export.ts";
import { daemonHosts } from "./hosts-config.ts";
import { dumpOf } from "./http-log.ts";
import { importArchive } from "./import.ts";
import { pull } from "./pull.ts";
import { push } from "./push.ts";
import { sourcesFrom } from "./refetch.ts";
import { registrySource } from "./registry-source.ts";
import { requestCredentials } from "./request-auth.ts";
import { diffOrder, unpackRoutes } from "./routes.ts";
import { tag } from "./tag.ts";
import { unpackStored } from "./unpack-stored.ts";
import { decodeEndpoint, type Endpoint, matcherOf, namingOf, streamCredentials, unpacksOf } from "./wire.ts";

type Of<K extends Endpoint["kind"]> = Extract<Endpoint, { kind: K }>["value"];

/** What the daemon's transfers are made of. */
export interface LocalTransferParts {
  readonly ctx: TransferContext;
  readonly streams: StreamManager;
  readonly config: TransferConfig;
  /** Settings of registries, for requests that bring none. */
  readonly hosts: HostsConfig;
  /** Loaded with the first request that needs it. */
  readonly registry: () => Promise<Registry>;
  readonly hostsChanged: () => void;
}

/** The daemon's transfers. */
export class LocalTransfer implements ImageTransfer {
  readonly #ctx: TransferContext;
  readonly #streams: StreamManager;
  readonly #config: TransferConfig;
  readonly #hosts: HostsConfig;
  readonly #registry: () => Promise<Registry>;
  readonly hostsChanged: () => void;

  constructor(parts: LocalTransferParts) {
    this.#ctx = parts.ctx;
    this.#streams = parts.streams;
    this.#config = parts.config;
    this.#hosts = parts.hosts;
    this.#registry = parts.registry;
    this.hostsChanged = parts.hostsChanged;
  }

  async transfer(
    call: NamespacedCall,
    source: AnyValue,
    destination: AnyValue,
    progress: OnProgress,
  ): Promise<void> {
    const from = decodeEndpoint(source);
    const to = decodeEndpoint(destination);
    if (from?.kind === "registry" && to?.kind === "store")
      return this.#pull(call, from.value, to.value, progress);
    if (from?.kind === "store" && to?.kind === "registry")
      return this.#push(call, from.value, to.value, progress);
    if (from?.kind === "import" && to?.kind === "store")
      return this.#import(call, from.value, to.value, progress);
    if (from?.kind === "store" && to?.kind === "export")
      return this.#export(call, from.value, to.value, progress);
    if (from?.kind === "store" && to?.kind === "store") {
      const force = to.value.extraReferences.some((r) => r.allowOverwrite);
      await tag(this.#ctx, call, from.value.name, to.value.name, force);
      return;
    }
    throw notImplemented(`method Transfer not implemented for ${source.typeUrl} to ${destination.typeUrl}`);
  }

  async #session(
    call: NamespacedCall,
    wire: Of<"registry">,
    dump: DumpOptions | undefined,
  ): Promise<RegistrySession> {
    const { resolver, reference } = wire;
    const auth = resolver?.authStream ?? "";
    const scheme = resolver?.defaultScheme ?? "";
    const hosts: HostsConfig = {
      ...this.#hosts,
      ...(resolver === undefined || resolver.hostDir === ""
        ? {}
        : { configPaths: splitConfigPath(resolver.hostDir) }),
      ...(scheme === "http" || scheme === "https" ? { defaultScheme: scheme } : {}),
      headers: new Map(Object.entries(resolver?.headers ?? {}).map(([k, v]) => [k.toLowerCase(), [v]])),
      log: call.log,
    };
    return (await this.#registry()).session(reference, {
      hosts,
      dump,
      ...(auth === "" ? {} : { credentials: streamCredentials(this.#streams.get(call, auth), reference) }),
    });
  }

  async #pull(
    call: NamespacedCall,
    from: Of<"registry">,
    to: Of<"store">,
    progress: OnProgress,
  ): Promise<void> {
    await using log = dumpOf(call, from.resolver, (id) => this.#streams.get(call, id));
    const session = await this.#session(call, from, log);
    const matcher = matcherOf(to.platforms);
    await pull(this.#ctx, call, {
      name: to.name === "" ? from.reference : to.name,
      labels: new Map(Object.entries(to.labels)),
      source: registrySource(session),
      // No platforms means every platform, no limit means every match: containerd's reading.
      ...(matcher === undefined ? { allPlatforms: true } : { matcher }),
      allMetadata: to.allMetadata,
      manifestLimit: to.manifestLimit,
      unpack: unpacksOf(to, this.#config.snapshotter),
      discardUnpacked: this.#config.discardUnpackedLayers,
      progress,
    });
  }

  async #push(
    call: NamespacedCall,
    from: Of<"store">,
    to: Of<"registry">,
    progress: OnProgress,
  ): Promise<void> {
    await using log = dumpOf(call, to.resolver, (id) => this.#streams.get(call, id));
    const session = await this.#session(call, to, log);
    await push(this.#ctx, call, { name: from.name, session, matcher: matcherOf(from.platforms), progress });
  }

  async #import(
    call: NamespacedCall,
    from: Of<"import">,
    to: Of<"store">,
    progress: OnProgress,
  ): Promise<void> {
    const stream = this.#streams.get(call, from.stream);
    const matcher = matcherOf(to.platforms);
    await importArchive(this.#ctx, call, readBytes(stream, call.signal), {
      naming: namingOf(to),
      indexName: to.name,
      labels: new Map(Object.entries(to.labels)),
      ...(matcher === undefined ? { allPlatforms: true } : { matcher }),
      compress: from.forceCompress,
      unpack: unpacksOf(to, this.#config.snapshotter),
      discardUnpacked: this.#config.discardUnpackedLayers,
      progress,
    });
  }

  async #export(
    call: NamespacedCall,
    from: Of<"store">,
    to: Of<"export">,
    progress: OnProgress,
  ): Promise<void> {
    const stream = this.#streams.get(call, to.stream);
    const names = [from.name, ...from.extraReferences.filter((r) => !r.isPrefix).map((r) => r.name)].filter(
      (n) => n !== "",
    );
    const bytes = exportArchive(this.#ctx, call, {
      names,
      matcher: matcherOf(to.platforms),
      allPlatforms: to.allPlatforms,
      skipManifestJson: to.skipCompatibilityManifest,
      skipNonDistributable: to.skipNonDistributable,
      progress,
    });
    await writeBytes(stream, bytes, call.signal);
  }

  async pull(call: NamespacedCall, request: PullRequest): Promise<PullOutcome> {
    const { reference, auth } = request;
    const credentials = auth === undefined ? undefined : requestCredentials(reference, auth);
    const hosts: HostsConfig = { ...this.#hosts, log: call.log };
    const session = await (await this.#registry()).session(
      reference,
      credentials === undefined ? { hosts } : { hosts, credentials },
    );
    const { snapshotter } = request;
    const result = await pull(this.#ctx, call, {
      name: request.name ?? request.reference,
      labels: request.labels,
      source: registrySource(session),
      matcher: matchOnly(request.platform ?? hostPlatform()),
      unpack: snapshotter === undefined ? [] : [{ snapshotter }],
      annotate: request.annotate,
      discardUnpacked: request.discardUnpackedLayers ?? this.#config.discardUnpackedLayers,
      syncFs: request.syncFs,
      downloads: request.downloads,
      progress: request.progress,
    });
    if (result.image === undefined) throw internal("pull made no image record");
    return { image: result.image, chainId: result.unpacked[0]?.chainId };
  }

  unpack(call: NamespacedCall, request: UnpackRequest): Promise<ChainId | undefined> {
    return unpackStored(this.#ctx, call, request);
  }

  importArchive(
    call: NamespacedCall,
    stream: AsyncIterable<Uint8Array>,
    request: ImportRequest,
  ): Promise<Image[]> {
    const { snapshotter } = request;
    return importArchive(this.#ctx, call, stream, {
      labels: request.labels,
      matcher: matchAny([hostPlatform()]),
      unpack: snapshotter === undefined ? [] : [{ snapshotter, matcher: matchAll }],
      discardUnpacked: this.#config.discardUnpackedLayers,
      progress: request.progress,
    });
  }
}

export default definePlugin({
  kind: TRANSFER,
  id: "local",
  requires: {
    metadata: one(METADATA),
    walking: one(DIFFER, "walking"),
    differs: all(DIFFER),
    diffs: one(DIFF_SERVICE, "diff-service"),
    streams: one(STREAMING),
    backends: all(SNAPSHOTTER),
    verifiers: all(VERIFIER),
  },
  config: {
    defaults: transferDefaults,
    live: [
      "max_concurrent_downloads",
      "max_concurrent_uploaded_layers",
      "discard_unpacked_layers",
      "config_path",
    ],
    parse: parseTransferConfig,
  },
  onFailure: "optional",
  init(host, { metadata, walking, differs, diffs, streams, backends, verifiers }, first) {
    // a reload changes these in place: the next transfer sees it, one that runs goes on as it began
    const config = { ...first };
    const hosts = daemonHosts(host.daemon.settings, config.configPaths);
    const readHosts = (): void => {
      Object.assign(hosts, daemonHosts(host.daemon.settings, config.configPaths));
    };
    // undici is loaded with the first pull, not with the daemon.
    const registry = lazyAsync(async () => {
      const { Registry } = await import("../../registry/registry.ts");
      return new Registry({ hosts, runHelper });
    });
    const gates = [...verifiers.values()].map((v) => ({ check: v.verify.bind(v) }));
    const ctx = createContext(
      {
        content: metadata.content,
        images: metadata.images,
        leases: metadata.leases,
        applier: diffs,
        route: unpackRoutes(config, {
          walking,
          differs,
          diffs,
          order: diffOrder(host.daemon.settings),
          backends,
        }),
        snapshotter: (name) => metadata.snapshotter(name),
        capabilities: (name) => backends.get(name)?.capabilities ?? [],
        exports: (name) => backends.get(name)?.exports,
        local: { content: metadata.content, applier: walking },
      },
      config.limits,
      gates,
      sourcesFrom(registry),
    );
    host.describe({ platforms: [hostPlatform()] });
    host.onReload((next) => {
      Object.assign(config, next);
      Object.assign(ctx.limits, { downloads: next.limits.downloads, uploads: next.limits.uploads });
      readHosts();
    });
    return new LocalTransfer({ ctx, streams, config, hosts, registry, hostsChanged: readHosts });
  },
});
