/** runp, create, run. */
import type { PodSandboxConfig } from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument, messageOf, wrap } from "../../../core/errors.ts";
import type { Action } from "../command.ts";
import { loadContainerConfig, loadPodConfig } from "../configs.ts";
import type { CriContext } from "../context.ts";
import { type Options, on, text } from "../options.ts";
import { durationMs } from "../settings.ts";
import { authOf, pullImage, pullTimeout } from "./pull.ts";

/** --cancel-timeout in milliseconds; undefined when it was not given. */
function cancelTimeout(options: Options): number | undefined {
  const value = text(options, "cancelTimeout");
  const ms = value === "" ? 0 : durationMs("--cancel-timeout", value);
  return ms > 0 ? ms : undefined;
}

async function runPod(cri: CriContext, config: PodSandboxConfig, options: Options): Promise<string> {
  const limit = cancelTimeout(options);
  // a network plugin may take its time: twice the timeout, as the kubelet's client does
  const { podSandboxId } = await (await cri.runtime()).runPodSandbox(
    { config, runtimeHandler: text(options, "runtime") },
    limit === undefined ? cri.options(2) : cri.within(limit),
  );
  return podSandboxId;
}

export const runp: Action = async (context, args, options) => {
  await using cri = context;
  const [path] = args;
  if (path === undefined || args.length > 1)
    throw invalidArgument("want one pod-config.[json|yaml]", {
      hint: "crictl runp jsonschema shows what can be in it",
    });
  const config = await loadPodConfig(path);
  if (config.linux !== undefined && config.linux.cgroupParent === "")
    process.stderr.write(
      "crictl: cgroup_parent is not set; crictl runtime-config shows the engine's cgroup driver\n",
    );
  const id = await runPod(cri, config, options).catch((err: unknown) => {
    throw wrap(err, "run pod sandbox");
  });
  process.stdout.write(`${id}\n`);
  return 0;
};

async function createContainer(
  cri: CriContext,
  pod: string,
  containerPath: string,
  podConfig: PodSandboxConfig,
  withPull: boolean,
  options: Options,
): Promise<string> {
  const config = await loadContainerConfig(containerPath);
  const { image } = config;
  if (image !== undefined && image.userSpecifiedImage === "") image.userSpecifiedImage = image.image;
  if (withPull && image !== undefined) {
    const auth = await authOf(options);
    const volumes = config.mounts.flatMap((mount) => (mount.image?.image ? [mount.image.image] : []));
    for (const name of [image.image, ...volumes])
      await pullImage(cri, {
        name,
        auth,
        podConfig,
        annotations: image.annotations,
        timeoutMs: pullTimeout(options),
      });
  }
  const limit = cancelTimeout(options);
  const { containerId } = await (await cri.runtime()).createContainer(
    { podSandboxId: pod, config, sandboxConfig: podConfig },
    limit === undefined ? cri.options() : cri.within(limit),
  );
  return containerId;
}

function pulls(options: Options, byDefault: boolean): boolean {
  if (on(options, "withPull") && options["pull"] === false)
    throw invalidArgument("conflict: no-pull and with-pull are both set");
  return on(options, "withPull") || (byDefault && options["pull"] !== false);
}

export const create: Action = async (context, args, options) => {
  await using cri = context;
  const [pod, containerPath, podPath] = args;
  if (pod === undefined || containerPath === undefined || podPath === undefined)
    throw invalidArgument("want POD container-config.[json|yaml] pod-config.[json|yaml]", {
      hint: "crictl create jsonschema shows what can be in the files",
    });
  const withPull = pulls(options, cri.settings.pullOnCreate);
  const id = await createContainer(
    cri,
    pod,
    containerPath,
    await loadPodConfig(podPath),
    withPull,
    options,
  ).catch((err: unknown) => {
    throw wrap(err, "creating container");
  });
  process.stdout.write(`${id}\n`);
  return 0;
};

export const run: Action = async (context, args, options) => {
  await using cri = context;
  const [containerPath, podPath] = args;
  if (containerPath === undefined || podPath === undefined)
    throw invalidArgument("want container-config.[json|yaml] pod-config.[json|yaml]", {
      hint: "crictl run jsonschema shows what can be in the files",
    });
  const withPull = pulls(options, cri.settings.pullOnRun);
  // a mistake in it must not leave a pod behind
  await loadContainerConfig(containerPath);
  const podConfig = await loadPodConfig(podPath);
  const pod = await runPod(cri, podConfig, options).catch((err: unknown) => {
    throw wrap(err, "running container: run pod sandbox");
  });
  try {
    const id = await createContainer(cri, pod, containerPath, podConfig, withPull, options).catch(
      (err: unknown) => {
        throw wrap(err, "running container: creating container failed");
      },
    );
    await (await cri.runtime()).startContainer({ containerId: id }, cri.options()).catch((err: unknown) => {
      throw wrap(err, `running container: starting the container "${id}"`);
    });
    process.stdout.write(`${id}\n`);
    return 0;
  } catch (err) {
    process.stderr.write(`crictl: ${messageOf(err)}\n        the pod was left: crictl rmp -f ${pod}\n`);
    return 1;
  }
};
