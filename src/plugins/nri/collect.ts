/**
 * What all plugins together want of one request. Each plugin sees the container as those before it left it; a name that begins
 * with "-" takes something away, and the plugin (or a later one) may then set it anew.
 */
import { Field } from "../../api/gen/nri/v1alpha1/api_pb.ts";
import type {
  NriAdjustment,
  NriContainer,
  NriEviction,
  NriHooks,
  NriLinuxAdjustment,
  NriRdt,
  NriResources,
  NriUpdate,
} from "../../core/nri/types.ts";
import { Owners } from "./owners.ts";
import { mergeResources, noResources } from "./resources.ts";

/** What a plugin answers to a request about a container. */
export interface PluginReply {
  readonly adjust?: NriAdjustment | undefined;
  readonly update: readonly NriUpdate[];
  readonly evict: readonly NriEviction[];
}

const HOOKS = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
] as const;

const noHooks: NriHooks = {
  prestart: [],
  createRuntime: [],
  createContainer: [],
  startContainer: [],
  poststart: [],
  poststop: [],
};

/** The name without the mark, and whether it had one. */
function unmark(name: string): { readonly name: string; readonly remove: boolean } {
  return name.startsWith("-") ? { name: name.slice(1), remove: true } : { name, remove: false };
}

/** Updates of containers, from any request. */
export class UpdateCollector {
  readonly owners = new Owners();
  readonly #updates = new Map<string, NriUpdate>();
  readonly #evict: NriEviction[] = [];

  /** Starts with resources that somebody else asked for, for UpdateContainer. */
  seed(containerId: string, resources: NriResources): void {
    this.#updates.set(containerId, { containerId, linux: { resources }, ignoreFailure: false });
  }

  /** @throws invalid-argument on a conflict, unless the update may fail */
  apply(reply: PluginReply, plugin: string): void {
    for (const update of reply.update) {
      const old = this.#updates.get(update.containerId);
      try {
        const resources = mergeResources(
          old?.linux?.resources ?? noResources,
          update.linux?.resources ?? noResources,
          this.owners,
          update.containerId,
          plugin,
        );
        this.#updates.set(update.containerId, {
          containerId: update.containerId,
          linux: { resources },
          ignoreFailure: update.ignoreFailure && (old?.ignoreFailure ?? true),
        });
      } catch (err) {
        if (!update.ignoreFailure) throw err;
      }
    }
    this.#evict.push(...reply.evict);
  }

  resourcesOf(containerId: string): NriResources {
    return this.#updates.get(containerId)?.linux?.resources ?? noResources;
  }

  /** Updates of all containers but one. */
  updates(except?: string): NriUpdate[] {
    return [...this.#updates.values()].filter(({ containerId }) => containerId !== except);
  }

  get evict(): readonly NriEviction[] {
    return this.#evict;
  }
}

/** Adjustments of a container that is being created. */
export class AdjustmentCollector extends UpdateCollector {
  /** The container as the next plugin sees it. */
  container: NriContainer;
  adjust: NriAdjustment & { linux: NriLinuxAdjustment; hooks: NriHooks };
  readonly #id: string;

  constructor(container: NriContainer) {
    super();
    this.container = container;
    this.#id = container.id;
    this.adjust = {
      annotations: {},
      mounts: [],
      env: [],
      hooks: noHooks,
      linux: {
        devices: [],
        resources: noResources,
        cgroupsPath: "",
        namespaces: [],
        sysctl: {},
        netDevices: {},
      },
      rlimits: [],
      CDIDevices: [],
      args: [],
    };
  }

  override apply(reply: PluginReply, plugin: string): void {
    if (reply.adjust !== undefined) this.#adjust(reply.adjust, plugin);
    super.apply(reply, plugin);
  }

  #adjust(want: NriAdjustment, plugin: string): void {
    const claim = (field: Field, key?: string): void => this.owners.claim(this.#id, plugin, field, key);
    const container: { -readonly [K in keyof NriContainer]: NriContainer[K] } = { ...this.container };
    const adjust = { ...this.adjust };
    [container.annotations, adjust.annotations] = this.#record(
      [container.annotations, adjust.annotations, want.annotations],
      Field.Annotations,
      plugin,
      "",
    );
    [container.mounts, adjust.mounts] = this.#list(
      [container.mounts, adjust.mounts, want.mounts],
      Field.Mounts,
      plugin,
      (mount) => mount.destination,
    );
    const env = container.env.map((entry) => {
      const at = entry.indexOf("=");
      return at < 0 ? { key: entry, value: "" } : { key: entry.slice(0, at), value: entry.slice(at + 1) };
    });
    const [seen, changed] = this.#list([env, adjust.env, want.env], Field.Env, plugin, (each) => each.key);
    container.env = seen.map(({ key, value }) => `${key}=${value}`);
    adjust.env = changed;
    if (want.args.length > 0) {
      // an empty first word takes back what another plugin set
      const fresh = want.args[0] === "";
      if (fresh) this.owners.release(this.#id, Field.Args);
      claim(Field.Args);
      adjust.args = fresh ? want.args.slice(1) : want.args;
      container.args = adjust.args;
    }
    const { hooks } = want;
    if (hooks !== undefined && HOOKS.some((kind) => hooks[kind].length > 0)) {
      adjust.hooks = joinHooks(adjust.hooks, hooks);
      container.hooks = joinHooks(container.hooks, hooks);
      this.owners.join(this.#id, plugin, Field.OciHooks);
    }
    for (const { type } of want.rlimits) claim(Field.Rlimits, type);
    adjust.rlimits = [...adjust.rlimits, ...want.rlimits];
    container.rlimits = [...container.rlimits, ...want.rlimits];
    for (const { name } of want.CDIDevices) claim(Field.CdiDevices, name);
    adjust.CDIDevices = [...adjust.CDIDevices, ...want.CDIDevices];
    if (want.linux !== undefined) {
      const linux = this.#linux(container.linux, adjust.linux, want.linux, plugin);
      container.linux = linux.container;
      adjust.linux = linux.adjust;
    }
    this.container = container;
    this.adjust = adjust;
  }

  #linux(
    old: NriContainer["linux"],
    before: NriLinuxAdjustment,
    want: NriLinuxAdjustment,
    plugin: string,
  ): { container: NriContainer["linux"]; adjust: NriLinuxAdjustment } {
    const claim = (field: Field, key?: string): void => this.owners.claim(this.#id, plugin, field, key);
    const container: { -readonly [K in keyof NriContainer["linux"]]: NriContainer["linux"][K] } = { ...old };
    const adjust: { -readonly [K in keyof NriLinuxAdjustment]: NriLinuxAdjustment[K] } = { ...before };
    [container.devices, adjust.devices] = this.#list(
      [container.devices, adjust.devices, want.devices],
      Field.Devices,
      plugin,
      (device) => device.path,
    );
    for (const namespace of want.namespaces) {
      const { name, remove } = unmark(namespace.type);
      claim(Field.Namespace, name);
      adjust.namespaces = [...adjust.namespaces, namespace];
      container.namespaces = container.namespaces.filter((each) => each.type !== name);
      if (!remove) container.namespaces = [...container.namespaces, namespace];
    }
    [container.sysctl, adjust.sysctl] = this.#record(
      [container.sysctl, adjust.sysctl, want.sysctl],
      Field.Sysctl,
      plugin,
      "",
    );
    [container.netDevices, adjust.netDevices] = this.#record(
      [container.netDevices, adjust.netDevices, want.netDevices],
      Field.LinuxNetDevices,
      plugin,
      { name: "" },
    );
    if (want.resources !== undefined) {
      adjust.resources = mergeResources(
        adjust.resources ?? noResources,
        want.resources,
        this.owners,
        this.#id,
        plugin,
      );
      container.resources = mergeResources(
        container.resources ?? noResources,
        want.resources,
        new Owners(),
        this.#id,
        plugin,
      );
    }
    if (want.cgroupsPath !== "") {
      claim(Field.CgroupsPath);
      container.cgroupsPath = adjust.cgroupsPath = want.cgroupsPath;
    }
    if (want.oomScoreAdj !== undefined) {
      claim(Field.OomScoreAdj);
      container.oomScoreAdj = adjust.oomScoreAdj = want.oomScoreAdj;
    }
    if (want.ioPriority !== undefined) {
      claim(Field.IoPriority);
      container.ioPriority = adjust.ioPriority = want.ioPriority;
    }
    if (want.seccompPolicy !== undefined) {
      claim(Field.SeccompPolicy);
      container.seccompPolicy = adjust.seccompPolicy = want.seccompPolicy;
    }
    if (want.scheduler !== undefined) {
      claim(Field.LinuxSched);
      container.scheduler = adjust.scheduler = want.scheduler;
    }
    if (want.memoryPolicy !== undefined) {
      claim(Field.MemoryPolicy);
      adjust.memoryPolicy = want.memoryPolicy;
    }
    if (want.rdt !== undefined) container.rdt = adjust.rdt = this.#rdt(adjust.rdt, want.rdt, plugin);
    return { container, adjust };
  }

  #rdt(old: NriRdt | undefined, want: NriRdt, plugin: string): NriRdt {
    const fields = [
      ["closId", Field.RdtClosID],
      ["schemata", Field.RdtSchemata],
      ["enableMonitoring", Field.RdtEnableMonitoring],
    ] as const;
    if (want.remove) for (const [, field] of fields) this.owners.release(this.#id, field);
    let rdt: NriRdt = want.remove || old === undefined ? { remove: want.remove } : old;
    for (const [key, field] of fields) {
      if (want[key] === undefined) continue;
      this.owners.claim(this.#id, plugin, field);
      rdt = { ...rdt, [key]: want[key], remove: false };
    }
    return rdt;
  }

  /** Values by name: what the container has, what was changed so far, what is wanted. @returns the first two anew */
  #record<T>(
    [has, changed, want]: readonly [
      Readonly<Record<string, T>>,
      Readonly<Record<string, T>>,
      Readonly<Record<string, T>>,
    ],
    field: Field,
    plugin: string,
    nothing: T,
  ): [Readonly<Record<string, T>>, Readonly<Record<string, T>>] {
    const container = new Map(Object.entries(has));
    const adjust = new Map(Object.entries(changed));
    for (const key of Object.keys(want)) {
      const { name, remove } = unmark(key);
      if (!remove) continue;
      this.owners.release(this.#id, field, name);
      container.delete(name);
      adjust.delete(name);
      adjust.set(key, nothing);
    }
    for (const [key, value] of Object.entries(want)) {
      if (unmark(key).remove) continue;
      this.owners.claim(this.#id, plugin, field, key);
      container.set(key, value);
      adjust.set(key, value);
      adjust.delete(`-${key}`);
    }
    return [Object.fromEntries(container), Object.fromEntries(adjust)];
  }

  /** As {@link AdjustmentCollector.#record} for lists. */
  #list<T>(
    [has, changed, want]: readonly [readonly T[], readonly T[], readonly T[]],
    field: Field,
    plugin: string,
    keyOf: (each: T) => string,
  ): [readonly T[], readonly T[]] {
    if (want.length === 0) return [has, changed];
    const add = want.filter((each) => !unmark(keyOf(each)).remove);
    const added = new Set(add.map(keyOf));
    const gone = want.filter((each) => unmark(keyOf(each)).remove);
    const removed = new Set(gone.map((each) => unmark(keyOf(each)).name));
    for (const name of removed) this.owners.release(this.#id, field, name);
    for (const each of add) this.owners.claim(this.#id, plugin, field, keyOf(each));
    const out = (each: T): boolean => removed.has(keyOf(each)) || added.has(keyOf(each));
    return [
      [...has.filter((each) => !out(each)), ...add],
      [
        ...changed.filter((each) => !out(each) && !added.has(unmark(keyOf(each)).name)),
        ...gone.filter((each) => !added.has(unmark(keyOf(each)).name)),
        ...add,
      ],
    ];
  }
}

function joinHooks(old: NriHooks, more: NriHooks): NriHooks {
  return Object.fromEntries(
    HOOKS.map((kind) => [kind, [...old[kind], ...more[kind]]]),
  ) as unknown as NriHooks;
}
