/** Runtime handlers: which runtime a pod runs with, and what that can do. */
import { readFile } from "node:fs/promises";
import { release } from "node:os";
import type { AnyValue } from "../core/any.ts";
import { invalidArgument, messageOf, wrap } from "../core/errors.ts";
import { parseExactJson } from "../oci/spec/json.ts";
import type { Spec } from "../oci/spec/types.ts";
import type { RuntimeHandler } from "./config.ts";
import type { CriDeps } from "./deps.ts";
import type { HandlerSettings, RuntimeFeatures } from "./spec/input.ts";
import { noFeatures } from "./spec/input.ts";

/** What Status tells of a handler. */
export interface HandlerFacts extends RuntimeFeatures {
  readonly userNamespaces: boolean;
}

const noFacts: HandlerFacts = { ...noFeatures, userNamespaces: false };

/** See the file's comment. */
export class Handlers {
  readonly #deps: Pick<CriDeps, "config" | "imagesConfig" | "codec" | "log">;
  readonly #facts = new Map<string, Promise<HandlerFacts>>();
  readonly #base = new Map<string, Promise<Spec>>();

  constructor(deps: Pick<CriDeps, "config" | "imagesConfig" | "codec" | "log">) {
    this.#deps = deps;
  }

  /** By name; "" is the default one. @throws invalid-argument in the words that the kubelet's users know */
  get(name: string): RuntimeHandler {
    const { config } = this.#deps;
    const handler = config.handlers.get(name === "" ? config.defaultRuntimeName : name);
    if (handler === undefined)
      throw invalidArgument(`failed to get sandbox runtime: no runtime for "${name}" is configured`, {
        hint: 'add it to [plugins."io.containerd.cri.v1.runtime".containerd.runtimes]',
      });
    return handler;
  }

  /** Snapshotter of a handler's pods. */
  snapshotter(handler: RuntimeHandler): string {
    const { imagesConfig } = this.#deps;
    const platform = imagesConfig.runtimePlatforms.get(handler.name);
    return handler.snapshotter || platform?.snapshotter || imagesConfig.snapshotter;
  }

  /** Snapshotter by name of a handler that may not be configured any more. */
  snapshotterOf(name: string): string {
    const { config, imagesConfig } = this.#deps;
    const handler = config.handlers.get(name === "" ? config.defaultRuntimeName : name);
    return handler === undefined ? imagesConfig.snapshotter : this.snapshotter(handler);
  }

  options(handler: RuntimeHandler): AnyValue | undefined {
    return this.#deps.codec.runtimeOptions(handler);
  }

  /** Asked once; a runtime that does not answer has no features. */
  facts(handler: RuntimeHandler): Promise<HandlerFacts> {
    let facts = this.#facts.get(handler.name);
    if (facts === undefined) {
      facts = this.#ask(handler);
      this.#facts.set(handler.name, facts);
    }
    return facts;
  }

  /** What builders of specs need. */
  async settings(handler: RuntimeHandler): Promise<HandlerSettings> {
    const [features, baseRuntimeSpec] = await Promise.all([this.facts(handler), this.#baseSpec(handler)]);
    return { ...handler, features, baseRuntimeSpec };
  }

  async #ask(handler: RuntimeHandler): Promise<HandlerFacts> {
    try {
      const features = await this.#deps.codec.runtimeFeatures(handler);
      return features === undefined ? noFacts : readFeatures(features);
    } catch (err) {
      this.#deps.log.warn("ask a runtime for its features", { handler: handler.name, err: messageOf(err) });
      return noFacts;
    }
  }

  /** Read once, when first needed. */
  async #baseSpec(handler: RuntimeHandler): Promise<Spec | undefined> {
    const path = handler.baseRuntimeSpec;
    if (path === "") return undefined;
    let spec = this.#base.get(path);
    if (spec === undefined) {
      spec = readFile(path, "utf8").then((text) => parseExactJson(text) as Spec);
      this.#base.set(path, spec);
      spec.catch(() => this.#base.delete(path));
    }
    return await spec.catch((err: unknown) => {
      throw wrap(err, `read base_runtime_spec "${path}"`);
    });
  }
}

/** Reads the JSON of `runc features` (runtime-spec features.md). */
export function readFeatures(features: Readonly<Record<string, unknown>>): HandlerFacts {
  const linux = objectOf(features["linux"]);
  const options = features["mountOptions"];
  const idmapMounts = objectOf(objectOf(linux["mountExtensions"])["idmap"])["enabled"] === true;
  const namespaces = linux["namespaces"];
  const max = features["ociVersionMax"];
  return {
    ociVersionMax: typeof max === "string" ? max : "",
    recursiveReadOnlyMounts: Array.isArray(options) && options.includes("rro") && kernelAtLeast(5, 12),
    idmapMounts,
    userNamespaces: idmapMounts && Array.isArray(namespaces) && namespaces.includes("user"),
  };
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function kernelAtLeast(major: number, minor: number): boolean {
  const [have = 0, less = 0] = release().split(/[.-]/).map(Number);
  return have > major || (have === major && less >= minor);
}
