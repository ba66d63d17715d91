/** pods, stopp, rmp. */
import {
  ListPodSandboxResponseSchema,
  type PodSandbox,
  PodSandboxState,
} from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition, invalidArgument, wrap } from "../../../core/errors.ts";
import type { Action } from "../command.ts";
import type { CriContext } from "../context.ts";
import { format, integer, labels, list, needIds, type Options, on, text, untruncated } from "../options.ts";
import { LIST_FORMATS } from "../output/formats.ts";
import { pairLines, renderTable, shortId } from "../output/table.ts";
import { ago, localGoTime } from "../output/times.ts";
import { writeMessage } from "../output/write.ts";
import { pattern } from "../pattern.ts";
import { forAll } from "./parallel.ts";

/** Pods that the flags ask for, newest first. */
export async function listPods(cri: CriContext, options: Options): Promise<PodSandbox[]> {
  const stateText = text(options, "state").toLowerCase();
  const states: Readonly<Record<string, PodSandboxState>> = {
    ready: PodSandboxState.SANDBOX_READY,
    notready: PodSandboxState.SANDBOX_NOTREADY,
  };
  const state = states[stateText];
  if (stateText !== "" && state === undefined) throw invalidArgument("--state should be ready or notready");
  const filter = {
    id: text(options, "id"),
    ...(state === undefined ? {} : { state: { state } }),
    labelSelector: labels(list(options, "label")),
  };
  const [name, namespace] = [pattern(text(options, "name")), pattern(text(options, "namespace"))];
  const last = integer(options, "last", "--last") ?? 0;
  const { items } = await (await cri.runtime()).listPodSandbox({ filter }, cri.options());
  const found = items
    .filter((pod) => pod.metadata && name.test(pod.metadata.name) && namespace.test(pod.metadata.namespace))
    .sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0));
  return last > 0 ? found.slice(0, last) : on(options, "latest") ? found.slice(0, 1) : found;
}

export const pods: Action = async (context, _args, options) => {
  await using cri = context;
  const out = format(options, LIST_FORMATS, "table");
  const items = await listPods(cri, options).catch((err: unknown) => {
    throw wrap(err, "listing pod sandboxes");
  });
  if (on(options, "quiet")) process.stdout.write(items.map((pod) => `${pod.id}\n`).join(""));
  else if (out !== "table")
    await writeMessage(
      ListPodSandboxResponseSchema,
      { $typeName: "runtime.v1.ListPodSandboxResponse", items },
      out,
    );
  else if (on(options, "verbose")) process.stdout.write(items.map(verbose).join(""));
  else {
    const rows = items.map((pod) => [
      untruncated(options) ? pod.id : shortId(pod.id),
      ago(pod.createdAt),
      stateName(pod.state),
      pod.metadata?.name ?? "",
      pod.metadata?.namespace ?? "",
      String(pod.metadata?.attempt ?? 0),
      handler(pod),
    ]);
    const header = ["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"];
    process.stdout.write(renderTable([header, ...rows]));
  }
  return 0;
};

const stateName = (state: PodSandboxState): string =>
  state === PodSandboxState.SANDBOX_READY ? "Ready" : "NotReady";
const handler = (pod: PodSandbox): string => (pod.runtimeHandler === "" ? "(default)" : pod.runtimeHandler);

function verbose(pod: PodSandbox): string {
  const { metadata } = pod;
  const lines = [`ID: ${pod.id}`];
  if (metadata !== undefined) {
    if (metadata.name !== "") lines.push(`Name: ${metadata.name}`);
    if (metadata.uid !== "") lines.push(`UID: ${metadata.uid}`);
    if (metadata.namespace !== "") lines.push(`Namespace: ${metadata.namespace}`);
    if (metadata.attempt !== 0) lines.push(`Attempt: ${metadata.attempt}`);
  }
  lines.push(`Status: ${stateName(pod.state)}`, `Created: ${localGoTime(pod.createdAt)}`, "");
  const pairs = pairLines("Labels", pod.labels) + pairLines("Annotations", pod.annotations);
  return `${lines.join("\n")}${pairs}Runtime: ${handler(pod)}\n\n`;
}

async function stopPod(cri: CriContext, id: string): Promise<void> {
  await (await cri.runtime()).stopPodSandbox({ podSandboxId: id }, cri.options()).catch((err: unknown) => {
    throw wrap(err, `stopping the pod sandbox "${id}"`);
  });
  process.stdout.write(`Stopped sandbox ${id}\n`);
}

export const stopp: Action = async (context, args) => {
  await using cri = context;
  for (const id of needIds(args, "pod")) await stopPod(cri, id);
  return 0;
};

export const rmp: Action = async (context, args, options) => {
  await using cri = context;
  const runtime = await cri.runtime();
  let ids: readonly string[] = args;
  if (on(options, "all")) {
    ids = (await runtime.listPodSandbox({}, cri.options())).items.map((pod) => pod.id);
    if (ids.length === 0) process.stderr.write("No pods to remove\n");
  } else needIds(ids, "pod");
  await forAll(ids, async (id) => {
    const { status } = await runtime
      .podSandboxStatus({ podSandboxId: id }, cri.options())
      .catch((err: unknown) => {
        throw wrap(err, `getting sandbox status of pod "${id}"`);
      });
    if (status?.state === PodSandboxState.SANDBOX_READY) {
      if (!on(options, "force"))
        throw failedPrecondition(`pod sandbox "${id}" is running, please stop it first`, {
          hint: `crictl stopp ${id}, or crictl rmp -f ${id}`,
        });
      await stopPod(cri, id);
    }
    await runtime.removePodSandbox({ podSandboxId: id }, cri.options()).catch((err: unknown) => {
      throw wrap(err, `removing the pod sandbox "${id}"`);
    });
    process.stdout.write(`Removed sandbox ${id}\n`);
  });
  return 0;
};
