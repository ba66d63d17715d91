/** start, stop, rm, update, checkpoint. */
import { readdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ContainerState } from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition, invalidArgument, messageOf, wrap } from "../../../core/errors.ts";
import type { Action } from "../command.ts";
import type { CriContext } from "../context.ts";
import { int64, needIds, on, text } from "../options.ts";
import { forAll } from "./parallel.ts";

const say = (id: string): void => void process.stdout.write(`${id}\n`);

export const start: Action = async (context, args) => {
  await using cri = context;
  const runtime = await cri.runtime();
  for (const id of needIds(args, "container")) {
    await runtime.startContainer({ containerId: id }, cri.options()).catch((err: unknown) => {
      throw wrap(err, `starting the container "${id}"`);
    });
    say(id);
  }
  return 0;
};

async function stopContainer(cri: CriContext, id: string, timeout: bigint): Promise<void> {
  // the engine may take the whole time it was given
  const options = cri.options(1, Number(timeout) * 1_000);
  await (await cri.runtime()).stopContainer({ containerId: id, timeout }, options).catch((err: unknown) => {
    throw wrap(err, `stopping the container "${id}"`);
  });
  say(id);
}

export const stop: Action = async (context, args, options) => {
  await using cri = context;
  const timeout = int64(options, "timeout", "--timeout");
  let ids: readonly string[] = args;
  if (on(options, "all")) {
    if (args.length > 0) throw invalidArgument("cannot specify CONTAINER-ID(s) when using --all");
    const filter = { state: { state: ContainerState.CONTAINER_RUNNING } };
    ids = (await (await cri.runtime()).listContainers({ filter }, cri.options())).containers.map((c) => c.id);
    if (ids.length === 0) process.stdout.write("No running containers found.\n");
  } else if (ids.length === 0)
    throw invalidArgument("you must specify at least one CONTAINER-ID or use --all");
  for (const id of ids) await stopContainer(cri, id, timeout);
  return 0;
};

export const rm: Action = async (context, args, options) => {
  await using cri = context;
  const runtime = await cri.runtime();
  let ids: readonly string[] = args;
  if (on(options, "all")) {
    ids = (await runtime.listContainers({}, cri.options())).containers.map((c) => c.id);
    if (ids.length === 0) process.stderr.write("No containers to remove\n");
  } else needIds(ids, "container");
  await forAll(ids, async (id) => {
    const { status } = await runtime
      .containerStatus({ containerId: id }, cri.options())
      .catch((err: unknown) => {
        throw wrap(err, `getting container status "${id}"`);
      });
    if (status?.state === ContainerState.CONTAINER_RUNNING) {
      if (!on(options, "force"))
        throw failedPrecondition(`container "${id}" is running, please stop it first`, {
          hint: `crictl stop ${id}, or crictl rm -f ${id}`,
        });
      await stopContainer(cri, id, 0n);
    }
    await runtime.removeContainer({ containerId: id }, cri.options()).catch((err: unknown) => {
      throw wrap(err, `removing container "${id}"`);
    });
    say(id);
    if (!on(options, "keepLogs")) removeLogs(id, status?.logPath ?? "");
  });
  return 0;
};

/** The log file and its rotations. What cannot be removed is said, and no failure: the container is gone. */
function removeLogs(id: string, path: string): void {
  if (path === "") return;
  let names: string[];
  try {
    names = readdirSync(dirname(path));
  } catch {
    return;
  }
  const own = basename(path);
  for (const name of names.filter((n) => n === own || n.startsWith(`${own}.`))) {
    try {
      rmSync(join(dirname(path), name));
    } catch (err) {
      process.stderr.write(
        `crictl: removing log file "${join(dirname(path), name)}" of container "${id}": ${messageOf(err)}\n`,
      );
    }
  }
}

export const update: Action = async (context, args, options) => {
  await using cri = context;
  const runtime = await cri.runtime();
  const linux = {
    cpuPeriod: int64(options, "cpuPeriod", "--cpu-period"),
    cpuQuota: int64(options, "cpuQuota", "--cpu-quota"),
    cpuShares: int64(options, "cpuShare", "--cpu-share"),
    cpusetCpus: text(options, "cpusetCpus"),
    cpusetMems: text(options, "cpusetMems"),
    memoryLimitInBytes: int64(options, "memory", "--memory"),
    oomScoreAdj: int64(options, "oomScoreAdj", "--oom-score-adj"),
  };
  for (const id of needIds(args, "container")) {
    await runtime
      .updateContainerResources({ containerId: id, linux }, cri.options())
      .catch((err: unknown) => {
        throw wrap(err, `updating container resources for "${id}"`);
      });
    say(id);
  }
  return 0;
};

export const checkpoint: Action = async (context, args, options) => {
  await using cri = context;
  const location = text(options, "export");
  if (location === "")
    throw invalidArgument("cannot checkpoint a container without specifying the checkpoint destination", {
      hint: "use --export=/path/to/checkpoint.tar",
    });
  const runtime = await cri.runtime();
  for (const id of needIds(args, "container")) {
    await runtime.checkpointContainer({ containerId: id, location }, cri.options(0)).catch((err: unknown) => {
      throw wrap(err, `checkpointing the container "${id}" failed`);
    });
    say(id);
  }
  return 0;
};
