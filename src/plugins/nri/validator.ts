/** The built-in validator: what plugins may not change, and which plugins must have had a say. */
import { Field, SecurityProfile_ProfileType } from "../../api/gen/nri/v1alpha1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { NriContainer, NriPod } from "../../core/nri/types.ts";
import type { Owners } from "./owners.ts";

/** The table `default_validator`. */
export interface ValidatorConfig {
  readonly enable: boolean;
  readonly rejectOciHooks: boolean;
  readonly rejectRuntimeDefaultSeccomp: boolean;
  readonly rejectUnconfinedSeccomp: boolean;
  readonly rejectCustomSeccomp: boolean;
  readonly rejectNamespaces: boolean;
  readonly rejectSysctl: boolean;
  readonly requiredPlugins: readonly string[];
  /** Annotation that lets a pod do without required plugins; "" = none. */
  readonly tolerateMissingAnnotation: string;
}

/** Pods name further plugins they need in this annotation: a YAML list. */
const REQUIRED = "required-plugins.noderesource.dev";

/** What is looked at: the container before plugins changed it. */
export interface Validated {
  readonly pod: NriPod;
  readonly container: NriContainer;
  readonly owners: Owners;
  /** Names of the plugins that were asked. */
  readonly plugins: ReadonlySet<string>;
}

/** @throws invalid-argument when something forbidden was changed, or a plugin is missing */
export async function validate(config: ValidatorConfig, what: Validated): Promise<void> {
  if (!config.enable) return;
  const { owners, container } = what;
  const hooks = owners.simple(container.id, Field.OciHooks);
  if (config.rejectOciHooks && hooks !== undefined)
    throw reject(
      `plugin${hooks.includes(",") ? "s" : ""} "${hooks}" attempted restricted OCI hook injection`,
    );
  seccomp(config, what);
  const namespaces = owners.keys(container.id, Field.Namespace);
  if (config.rejectNamespaces && namespaces.size > 0) {
    const list = [...namespaces].map(([name, plugin]) => `"${plugin}" (namespace "${name}")`).join(", ");
    throw reject(`attempted restricted namespace adjustment by plugin(s) ${list}`);
  }
  const sysctls = owners.keys(container.id, Field.Sysctl);
  if (config.rejectSysctl && sysctls.size > 0)
    throw reject(`attempted restricted sysctl adjustment by plugin(s) ${[...sysctls.values()].join(", ")}`);
  await required(config, what);
}

function seccomp(config: ValidatorConfig, { owners, container }: Validated): void {
  const owner = owners.simple(container.id, Field.SeccompPolicy);
  if (owner === undefined) return;
  const type = container.linux.seccompProfile?.profileType;
  const [forbidden, kind] =
    type === SecurityProfile_ProfileType.RUNTIME_DEFAULT
      ? [config.rejectRuntimeDefaultSeccomp, "runtime default"]
      : type === SecurityProfile_ProfileType.LOCALHOST
        ? [config.rejectCustomSeccomp, "custom"]
        : [config.rejectUnconfinedSeccomp, "unconfined"];
  if (forbidden) throw reject(`plugin ${owner} attempted restricted ${kind} seccomp policy adjustment`);
}

async function required(config: ValidatorConfig, what: Validated): Promise<void> {
  const { pod, container, plugins } = what;
  if (config.tolerateMissingAnnotation !== "") {
    const text = annotationFor(pod, config.tolerateMissingAnnotation, container.name);
    if (text !== undefined) {
      const yes = /^(?:1|t|T|true|True|TRUE)$/.test(text);
      if (!yes && !/^(?:0|f|F|false|False|FALSE)$/.test(text))
        throw invalidArgument(`invalid ${config.tolerateMissingAnnotation} annotation "${text}"`);
      if (yes) return;
    }
  }
  const wanted = [...config.requiredPlugins];
  const more = annotationFor(pod, REQUIRED, container.name);
  if (more !== undefined) wanted.push(...names(more));
  const missing = wanted.filter((name) => !plugins.has(name));
  if (missing.length === 1) throw reject(`required plugin "${missing[0]}" not present`);
  if (missing.length > 1) throw reject(`required plugins "${missing.join(",")}" not present`);
}

/** A YAML list of names: `[ a, b ]`, or lines of `- a`. @throws invalid-argument */
function names(text: string): string[] {
  const flow = /^\s*\[(.*)\]\s*$/s.exec(text);
  const items =
    flow === null
      ? text
          .split("\n")
          .filter((line) => line.trim() !== "")
          .map((line) => /^\s*-\s+(.*)$/.exec(line)?.[1])
      : (flow[1] ?? "").split(",").filter((item) => item.trim() !== "");
  return items.map((item) => {
    const name = item?.trim().replace(/^(["'])(.*)\1$/, "$2");
    if (name === undefined || !/^[\w.+-]+$/.test(name))
      throw invalidArgument(`invalid ${REQUIRED} annotation "${text}"`);
    return name;
  });
}

/** Value of an annotation for one container: `KEY/container.NAME`, `KEY/pod`, `KEY`. */
function annotationFor(pod: NriPod, key: string, container: string): string | undefined {
  for (const name of [`${key}/container.${container}`, `${key}/pod`, key])
    if (Object.hasOwn(pod.annotations, name)) return pod.annotations[name];
  return undefined;
}

function reject(why: string): Error {
  return invalidArgument(`validation error: ${why}`);
}
