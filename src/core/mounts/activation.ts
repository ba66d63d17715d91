/** Activations: mounts that need more than the mount system call, carried out under a name by the mount manager. */
import type { Labels, TimeNs } from "../any.ts";
import type { NamespacedCall } from "../call.ts";
import { invalidArgument } from "../errors.ts";
import type { Mount } from "./mount.ts";

/** A mount that the manager has carried out. */
export interface ActiveMount {
  readonly mount: Mount;
  readonly mountedAt: TimeNs;
  readonly mountPoint: string;
  readonly data: ReadonlyMap<string, string>;
}

/** One activation: what is mounted, and what its user has to mount still. */
export interface Activation {
  readonly name: string;
  readonly active: readonly ActiveMount[];
  readonly system: readonly Mount[];
  readonly labels: Labels;
}

/** How to activate. */
export interface ActivateRequest {
  readonly name: string;
  readonly mounts: readonly Mount[];
  readonly labels: Labels;
  /** Taken down when the daemon starts again. */
  readonly temporary: boolean;
}

/** Activations of a namespace. */
export interface MountManager {
  /** @throws already-exists, not-implemented when no mount needs the manager, or one needs what it does not offer */
  activate(call: NamespacedCall, request: ActivateRequest): Promise<Activation>;
  /** Takes the mounts down. @throws not-found */
  deactivate(call: NamespacedCall, name: string): Promise<void>;
  /** Changes labels: `labels`, `labels.KEY`; empty = labels. @throws not-found, invalid-argument (another field) */
  update(call: NamespacedCall, name: string, labels: Labels, fields: readonly string[]): Promise<Activation>;
  /** @throws not-found */
  info(call: NamespacedCall, name: string): Promise<Activation>;
  list(call: NamespacedCall, filters: readonly string[]): Promise<Activation[]>;
}

/** What stands before the type of a mount that has to be changed first: `format/mkdir/overlay`. */
export type Transformer = "format" | "mkdir" | "mkfs";

const TRANSFORMERS: ReadonlySet<string> = new Set(["format", "mkdir", "mkfs"]);
/** Options for transformers: not for the kernel. */
const OWN_OPTION = "X-containerd.";

/** A mount without its transformers. */
export interface ParsedMount {
  readonly transformers: readonly Transformer[];
  readonly mount: Mount;
  /** `X-containerd.NAME=VALUE` options by name. */
  readonly own: readonly (readonly [string, string])[];
}

/** Takes the transformers off the type. */
export function parseTransformers(mount: Mount): ParsedMount {
  const parts = mount.type.split("/");
  const at = parts.findIndex((part) => !TRANSFORMERS.has(part));
  const transformers = parts.slice(0, at < 0 ? parts.length : at) as Transformer[];
  const own: [string, string][] = [];
  const options: string[] = [];
  for (const option of mount.options) {
    if (!option.startsWith(OWN_OPTION)) options.push(option);
    else {
      const equals = option.indexOf("=");
      const name = option.slice(OWN_OPTION.length, equals < 0 ? undefined : equals);
      own.push([name, equals < 0 ? "" : option.slice(equals + 1)]);
    }
  }
  const type = parts.slice(transformers.length).join("/");
  return { transformers, own, mount: { ...mount, type, options } };
}

/**
 * Fills `{{ mount N }}`, `{{ source N }}`, `{{ target N }}` and `{{ overlay A B }}` (mount points from A to B, joined by colons)
 * from the mounts before this one. @throws invalid-argument
 */
export function formatMount(mount: Mount, active: readonly ActiveMount[]): Mount {
  const at = (text: string): ActiveMount => {
    const found = active[Number(text)];
    if (found === undefined) throw invalidArgument(`format mount: there is no mount ${text} before it`);
    return found;
  };
  const fill = (value: string): string =>
    // no braces inside: with them, a text of opening ones alone would be looked through once for each
    value.replace(/\{\{([^{}]*)\}\}/g, (_all, inside: string) => {
      const words = inside.trim();
      const [what = "", first = "", last = ""] = words.split(/\s+/);
      if (!/^\d{1,4}$/.test(first)) throw invalidArgument(`format mount: "${words}" is not understood`);
      if (what === "mount") return at(first).mountPoint;
      if (what === "source") return at(first).mount.source;
      if (what === "target") return at(first).mount.target;
      if (what !== "overlay" || !/^\d{1,4}$/.test(last))
        throw invalidArgument(`format mount: "${words}" is not understood`);
      const step = Number(first) <= Number(last) ? 1 : -1;
      const points: string[] = [];
      for (let i = Number(first); i !== Number(last) + step; i += step) points.push(at(String(i)).mountPoint);
      return points.join(":");
    });
  return {
    type: mount.type,
    source: fill(mount.source),
    target: fill(mount.target),
    options: mount.options.map(fill),
  };
}
