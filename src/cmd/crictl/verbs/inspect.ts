/** inspect, inspectp. */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import {
  ContainerState,
  type ContainerStatus,
  type ContainerStatusResponse,
  ContainerStatusSchema,
  PodSandboxState,
  type PodSandboxStatus,
  type PodSandboxStatusResponse,
  PodSandboxStatusSchema,
} from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { notFound, wrap } from "../../../core/errors.ts";
import type { Json } from "../../../lib/yaml-emit.ts";
import type { Action } from "../command.ts";
import { format, nothing, on, text } from "../options.ts";
import { STATUS_FORMATS } from "../output/formats.ts";
import { messageJson, type StatusData, writeStatuses } from "../output/structured.ts";
import { infoLine, pairLines } from "../output/table.ts";
import { ago, localGoTime, localRfc3339, ZERO_TIME } from "../output/times.ts";
import { listPods } from "./pods.ts";
import { listContainers } from "./ps.ts";

export const inspect: Action = async (context, args, options) => {
  await using cri = context;
  const out = format(options, STATUS_FORMATS, "json");
  const verbose = !on(options, "quiet");
  const runtime = await cri.runtime();
  const ids = args.length > 0 ? args : (await listContainers(cri, options)).map((c) => c.id);
  if (ids.length === 0) throw nothing("container");
  const statuses: StatusData[] = [];
  for (const id of ids) {
    const answer = await runtime
      .containerStatus({ containerId: id, verbose }, cri.options())
      .catch((err: unknown) => {
        throw wrap(err, "get the status of containers");
      });
    if (answer.status === undefined) throw notFound(`container "${id}" not found`);
    if (out === "table") process.stdout.write(containerTable(answer, answer.status, verbose));
    else statuses.push({ status: containerJson(answer.status), info: answer.info });
  }
  if (out !== "table") await writeStatuses(statuses, out, text(options, "template"));
  return 0;
};

export const inspectp: Action = async (context, args, options) => {
  await using cri = context;
  const out = format(options, STATUS_FORMATS, "json");
  const verbose = !on(options, "quiet");
  const runtime = await cri.runtime();
  const ids = args.length > 0 ? args : (await listPods(cri, options)).map((pod) => pod.id);
  if (ids.length === 0) throw nothing("pod");
  const statuses: StatusData[] = [];
  for (const id of ids) {
    const answer = await runtime
      .podSandboxStatus({ podSandboxId: id, verbose }, cri.options())
      .catch((err: unknown) => {
        throw wrap(err, "get the status of pod sandboxes");
      });
    if (answer.status === undefined) throw notFound(`pod sandbox "${id}" not found`);
    if (out === "table") process.stdout.write(podTable(answer, answer.status, verbose));
    else statuses.push({ status: podJson(answer.status), info: answer.info });
  }
  if (out !== "table") await writeStatuses(statuses, out, text(options, "template"));
  return 0;
};

/** Times are for people: what has not happened yet is Go's zero time. */
function containerJson(status: ContainerStatus): Json {
  const started = status.state !== ContainerState.CONTAINER_CREATED;
  const finished =
    status.state === ContainerState.CONTAINER_EXITED ||
    (status.state === ContainerState.CONTAINER_UNKNOWN && status.finishedAt > 0n);
  return {
    ...whole(ContainerStatusSchema, status),
    createdAt: localRfc3339(status.createdAt),
    startedAt: started ? localRfc3339(status.startedAt) : ZERO_TIME,
    finishedAt: finished ? localRfc3339(status.finishedAt) : ZERO_TIME,
  };
}

/** A message whose unset fields are there, as null. */
function whole<D extends DescMessage>(schema: D, message: MessageShape<D>): { [key: string]: Json } {
  const unset = Object.fromEntries(schema.fields.map((field) => [field.jsonName, null]));
  return { ...unset, ...(messageJson(schema, message) as { [key: string]: Json }) };
}

function podJson(status: PodSandboxStatus): Json {
  return {
    ...whole(PodSandboxStatusSchema, status),
    createdAt: localRfc3339(status.createdAt),
  };
}

function containerTable(answer: ContainerStatusResponse, s: ContainerStatus, verbose: boolean): string {
  const lines = [`ID: ${s.id}`];
  if (s.metadata !== undefined) {
    if (s.metadata.name !== "") lines.push(`Name: ${s.metadata.name}`);
    if (s.metadata.attempt !== 0) lines.push(`Attempt: ${s.metadata.attempt}`);
  }
  lines.push(`State: ${ContainerState[s.state] ?? s.state}`, `Created: ${ago(s.createdAt)}`);
  if (s.state !== ContainerState.CONTAINER_CREATED) lines.push(`Started: ${ago(s.startedAt)}`);
  if (s.state === ContainerState.CONTAINER_EXITED) {
    if (s.finishedAt > 0n) lines.push(`Finished: ${ago(s.finishedAt)}`);
    lines.push(`Exit Code: ${s.exitCode}`);
  }
  lines.push("");
  const pairs = pairLines("Labels", s.labels) + pairLines("Annotations", s.annotations);
  return `${lines.join("\n")}${pairs}${verbose ? infoLine(answer.info) : ""}`;
}

function podTable(answer: PodSandboxStatusResponse, s: PodSandboxStatus, verbose: boolean): string {
  const lines = [`ID: ${s.id}`];
  if (s.metadata !== undefined) {
    if (s.metadata.name !== "") lines.push(`Name: ${s.metadata.name}`);
    if (s.metadata.uid !== "") lines.push(`UID: ${s.metadata.uid}`);
    if (s.metadata.namespace !== "") lines.push(`Namespace: ${s.metadata.namespace}`);
    lines.push(`Attempt: ${s.metadata.attempt}`);
  }
  lines.push(`Status: ${PodSandboxState[s.state] ?? s.state}`, `Created: ${localGoTime(s.createdAt)}`);
  if (s.network !== undefined) {
    lines.push(`IP Addresses: ${s.network.ip}`);
    for (const { ip } of s.network.additionalIps) lines.push(`Additional IP: ${ip}`);
  }
  lines.push("");
  const pairs = pairLines("Labels", s.labels) + pairLines("Annotations", s.annotations);
  return `${lines.join("\n")}${pairs}${verbose ? infoLine(answer.info) : ""}`;
}
