/** ps, and the list of containers that other commands pick from. */
import {
  type Container,
  ContainerState,
  ListContainersResponseSchema,
} from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument, wrap } from "../../../core/errors.ts";
import type { Action } from "../command.ts";
import type { CriContext } from "../context.ts";
import { format, integer, labels, list, type Options, on, text, untruncated } from "../options.ts";
import { LIST_FORMATS } from "../output/formats.ts";
import { pairLines, renderTable, shortId } from "../output/table.ts";
import { ago } from "../output/times.ts";
import { writeMessage } from "../output/write.ts";
import { pattern } from "../pattern.ts";

const STATES: Readonly<Record<string, ContainerState>> = {
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
  unknown: ContainerState.CONTAINER_UNKNOWN,
};

/** Containers that the flags ask for, newest first. Running ones unless --all, --state, --latest or --last say otherwise. */
export async function listContainers(cri: CriContext, options: Options): Promise<Container[]> {
  const stateText = text(options, "state").toLowerCase();
  if (stateText !== "" && STATES[stateText] === undefined)
    throw invalidArgument("--state should be one of created, running, exited or unknown");
  const last = integer(options, "last", "--last") ?? 0;
  const recent = on(options, "latest") || last > 0;
  const state = STATES[stateText] ?? (on(options, "all") ? undefined : ContainerState.CONTAINER_RUNNING);
  const filter = {
    id: text(options, "id"),
    podSandboxId: text(options, "pod"),
    ...(recent || state === undefined ? {} : { state: { state } }),
    labelSelector: labels(list(options, "label")),
  };
  const [name, namespace] = [pattern(text(options, "name")), pattern(text(options, "namespace"))];
  const { containers } = await (await cri.runtime()).listContainers({ filter }, cri.options());
  let found = containers.filter(
    (c) => c.metadata !== undefined && name.test(c.metadata.name) && namespace.test(podNamespace(c)),
  );
  const image = text(options, "image");
  if (image !== "" && found.length > 0) found = await ofImage(cri, found, image);
  found.sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0));
  return last > 0 ? found.slice(0, last) : on(options, "latest") ? found.slice(0, 1) : found;
}

async function ofImage(cri: CriContext, containers: Container[], image: string): Promise<Container[]> {
  const images = await cri.images();
  const known = new Map<string, Promise<string | undefined>>();
  const idOf = (name: string): Promise<string | undefined> => {
    let id = known.get(name);
    if (id === undefined) {
      id = images.imageStatus({ image: { image: name } }, cri.options()).then((answer) => answer.image?.id);
      known.set(name, id);
    }
    return id;
  };
  const wanted = await idOf(image);
  if (wanted === undefined) return [];
  const ids = await Promise.all(containers.map((c) => idOf(c.image?.image ?? "")));
  return containers.filter((_, i) => ids[i] === wanted);
}

export const podNamespace = (c: Container): string => c.labels["io.kubernetes.pod.namespace"] ?? "unknown";
const podName = (c: Container): string => c.labels["io.kubernetes.pod.name"] ?? "unknown";

function stateName(state: ContainerState): string {
  const name = Object.keys(STATES).find((key) => STATES[key] === state) ?? "unknown";
  return name.charAt(0).toUpperCase() + name.slice(1);
}

export const ps: Action = async (context, _args, options) => {
  await using cri = context;
  const out = format(options, LIST_FORMATS, "table");
  const containers = await listContainers(cri, options).catch((err: unknown) => {
    throw wrap(err, "listing containers");
  });
  if (on(options, "quiet")) process.stdout.write(containers.map((c) => `${c.id}\n`).join(""));
  else if (out !== "table")
    await writeMessage(
      ListContainersResponseSchema,
      {
        $typeName: "runtime.v1.ListContainersResponse",
        containers,
      },
      out,
    );
  else if (on(options, "verbose")) process.stdout.write(containers.map(verbose).join(""));
  else {
    const rows = await Promise.all(containers.map((c) => row(cri, c, options)));
    const header = [
      "CONTAINER",
      "IMAGE",
      "CREATED",
      "STATE",
      "NAME",
      "ATTEMPT",
      "POD ID",
      "POD",
      "NAMESPACE",
    ];
    process.stdout.write(renderTable([header, ...rows]));
  }
  return 0;
};

async function row(cri: CriContext, c: Container, options: Options): Promise<string[]> {
  const whole = untruncated(options);
  let image = c.image?.image ?? "";
  if (on(options, "resolveImagePath")) {
    const { image: found } = await (await cri.images()).imageStatus({ image: { image } }, cri.options());
    image = found?.repoTags[0] ?? image;
  } else if (!whole && /^[a-z0-9]+:[0-9a-f]{32,}$/.test(image))
    image = shortId(image, `${image.split(":")[0]}:`);
  return [
    whole ? c.id : shortId(c.id),
    image,
    ago(c.createdAt),
    stateName(c.state),
    c.metadata?.name ?? "",
    String(c.metadata?.attempt ?? 0),
    whole ? c.podSandboxId : shortId(c.podSandboxId),
    podName(c),
    podNamespace(c),
  ];
}

function verbose(c: Container): string {
  const lines = [`ID: ${c.id}`, `PodID: ${c.podSandboxId}`, `Namespace: ${podNamespace(c)}`];
  if (c.metadata !== undefined) {
    if (c.metadata.name !== "") lines.push(`Name: ${c.metadata.name}`);
    lines.push(`Attempt: ${c.metadata.attempt}`);
  }
  lines.push(`State: ${stateName(c.state)}`);
  if (c.image !== undefined) lines.push(`Image: ${c.image.image}`);
  lines.push(`Created: ${ago(c.createdAt)}`, "");
  return `${lines.join("\n")}${pairLines("Labels", c.labels)}${pairLines("Annotations", c.annotations)}\n`;
}
