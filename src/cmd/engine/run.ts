/** run: pulls what is missing, makes a container with a name, a network and a log, and starts it. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { containersClient } from "../../client/containers.ts";
import { imagesClient } from "../../client/images.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import { tasksClient } from "../../client/tasks.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { alreadyExists, invalidArgument, isNotFound, messageOf } from "../../core/errors.ts";
import { checkIdentifier } from "../../core/ids/namespace.ts";
import { parseSize } from "../../lib/human.ts";
import { parsePlatform } from "../../oci/platform.ts";
import { processOf } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import type { Transport } from "../../rpc/types.ts";
import type { Action } from "../ctr/command.ts";
import { listOf, need, textOf } from "../ctr/context.ts";
import { CAPABILITY_NAMES, createContainer } from "../ctr/create-container.ts";
import { runForeground } from "../ctr/process-session.ts";
import { restartLabels } from "../ctr/restart-flag.ts";
import { taskOptions } from "../ctr/runtime-options.ts";
import { openStdio } from "../ctr/stdio.ts";
import { needTerminal } from "../shared/terminal.ts";
import { fullName, pullImage } from "./images.ts";
import { COMMAND, NAME, NETWORK, PORTS } from "./labels.ts";
import { addNetworkHooks, DEFAULT_NETWORK, findNetwork, hostsFile } from "./network.ts";
import { containerDir, logPath, volumeDir } from "./paths.ts";
import { checkPorts } from "./port-check.ts";
import { formatPort, type PortMapping, parsePorts } from "./ports.ts";
import { removeContainer } from "./remove.ts";

type Options = Readonly<Record<string, unknown>>;

export const run: Action = async (context, args, options) => {
  const detach = options["detach"] === true;
  const remove = options["rm"] === true;
  if (remove && detach) throw invalidArgument("flags --detach and --rm cannot be given together");
  const reference = need(args, 0, "image");
  const network = textOf(options, "network") || DEFAULT_NETWORK;
  const ports = listOf(options, "publish").flatMap(parsePorts);
  if (ports.length > 0 && (network === "host" || network === "none"))
    throw invalidArgument(`flag --publish: network "${network}" has no ports to publish`);
  if (network !== "host" && network !== "none") await findNetwork(network);
  checkFlags(options);
  if (!detach && options["tty"] === true && options["interactive"] === true) needTerminal();
  const detachedLog = logUriOf(options);
  const logUri = detach ? detachedLog : (): string => "";

  await using transport = context.connect();
  const call = context.call(false);
  const image = await imageFor(context, transport, reference, options);
  const containers = containersClient(transport);
  const id = randomBytes(32).toString("hex");
  const name = textOf(options, "name") || id.slice(0, 12);
  checkIdentifier(name);
  const taken = (await containers.list(call, [])).find((c) => c.labels.get(NAME) === name || c.id === name);
  if (taken !== undefined)
    throw alreadyExists(`container "${name}" (${taken.id.slice(0, 12)})`, {
      hint: `remove it with "gantry rm ${name}", or choose another --name`,
    });

  await checkPorts(transport, call, id, ports);

  const dir = containerDir(call.namespace, id);
  const hostname = textOf(options, "hostname") || name.slice(0, 63);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  try {
    writeFiles(dir, hostname, listOf(options, "dns"), listOf(options, "addHost"));
    const container = await createContainer({
      transport,
      call,
      args: [image, id, ...args.slice(1)],
      options: createOptions(options, { name, network, ports, log: logUri(logPath(call.namespace, id)) }),
      adjust: (spec) => {
        spec.hostname ??= hostname;
        if (network !== "host") spec.hostname = hostname;
        addFiles(spec, dir, network === "host");
        entrypoint(spec, textOf(options, "entrypoint"), args.slice(1));
        if (network !== "host" && network !== "none")
          addNetworkHooks(spec, { namespace: call.namespace, id, network, ports });
      },
    });
    const tasks = tasksClient(transport);
    const terminal = options["tty"] === true;
    const io = await openStdio(id.slice(0, 12), {
      terminal,
      logUri: logUri(logPath(call.namespace, id)),
      stdin: options["interactive"] === true || terminal,
      detach,
    });
    try {
      const rootfs = await snapshotterClient(transport, container.snapshotter).mounts(
        call,
        container.snapshotKey,
      );
      await tasks.create(call, {
        containerId: id,
        rootfs,
        ...io.stdio,
        options: taskOptions(container.runtime, options),
      });
      if (detach) {
        await tasks.start(call, id, "");
        process.stdout.write(`${id}\n`);
        return 0;
      }
      const exit = await runForeground({ tasks, call, id, execId: "", io, terminal }, true);
      return exit.status;
    } finally {
      io.dispose();
      if (remove) await removeContainer(transport, call.detached(30_000), container, true);
    }
  } catch (err) {
    // what never started is not left behind
    await containers.get(call.detached(10_000), id).then(
      (made) => removeContainer(transport, call.detached(30_000), made, true),
      () => rmSync(dir, { recursive: true, force: true }),
    );
    throw err;
  }
};

/** Says what is wrong with a flag before anything is pulled or made. */
function checkFlags(options: Options): void {
  sizeOf(options, "memory", "--memory");
  for (const platform of listOf(options, "platform")) parsePlatform(platform);
  for (const server of listOf(options, "dns"))
    if (isIP(server) === 0) throw invalidArgument(`flag --dns "${server}": want an address such as 9.9.9.9`);
  for (const flag of ["capAdd", "capDrop"]) capabilities(options, flag);
  const file = textOf(options, "envFile");
  if (file === "") return;
  try {
    readFileSync(file);
  } catch (err) {
    const missing = err instanceof Error && "code" in err && err.code === "ENOENT";
    throw invalidArgument(`flag --env-file "${file}": ${missing ? "no such file" : messageOf(err)}`, {
      cause: err,
    });
  }
}

/** The flag's capabilities by their full names; ALL is every one. */
function capabilities(options: Options, flag: string): string[] {
  return listOf(options, flag).flatMap((given) => {
    const name = given.toUpperCase().replace(/^(CAP_)?/, "CAP_");
    if (name === "CAP_ALL") return [...CAPABILITY_NAMES];
    if (CAPABILITY_NAMES.includes(name)) return [name];
    throw invalidArgument(
      `flag --${flag === "capAdd" ? "cap-add" : "cap-drop"} "${given}": no such capability`,
      {
        hint: "names are as in capabilities(7): NET_ADMIN, SYS_TIME; ALL is every one",
      },
    );
  });
}

/** A size flag in bytes; 0 when it is not given. */
function sizeOf(options: Options, name: string, flag: string): bigint {
  const text = textOf(options, name);
  if (text === "") return 0n;
  try {
    return parseSize(text);
  } catch (err) {
    throw invalidArgument(`flag ${flag} "${text}": want bytes, or a size such as 64m`, { cause: err });
  }
}

/** The image's name in the store; pulled when it is missing, or always with --pull always. */
async function imageFor(
  context: Parameters<Action>[0],
  transport: Transport,
  reference: string,
  options: Options,
): Promise<string> {
  const policy = textOf(options, "pull") || "missing";
  if (!["missing", "always", "never"].includes(policy))
    throw invalidArgument(`flag --pull "${policy}": want missing, always or never`);
  const images = imagesClient(transport);
  const call = context.call();
  const has = async (name: string): Promise<boolean> =>
    images.get(call, name).then(
      () => true,
      (err: unknown) => {
        if (isNotFound(err)) return false;
        throw err;
      },
    );
  // what is there may be of another platform
  const again = policy === "always" || (policy === "missing" && listOf(options, "platform").length > 0);
  for (const name of again ? [] : [reference, fullName(reference)]) if (await has(name)) return name;
  if (policy === "never") return reference; // creation says that it is not there
  await pullImage(context, transport, fullName(reference), options);
  return fullName(reference);
}

/** Where a detached container's output goes: the shim's own log writer, which rotates. */
function logUriOf(options: Options): (path: string) => string {
  const size = sizeOf(options, "logSize", "--log-size") || parseSize("10m");
  const files = Number(textOf(options, "logFiles") || "3");
  if (!Number.isInteger(files) || files < 1 || files > 100)
    throw invalidArgument(`flag --log-files "${textOf(options, "logFiles")}": want a number from 1 to 100`);
  return (path) => `cri-log://${path}?max=0&size=${size}&files=${files}`;
}

/** The flags in the words of `ctr run`, whose creation this shares. */
function createOptions(
  options: Options,
  made: { name: string; network: string; ports: readonly PortMapping[]; log: string },
): Record<string, unknown> {
  const ports = made.ports.map(formatPort).join(",");
  const restart = { restart: textOf(options, "restart"), detach: options["detach"], logUri: made.log };
  return {
    ...options,
    label: [
      ...listOf(options, "label"),
      `${NAME}=${made.name}`,
      `${NETWORK}=${made.network}`,
      ...(ports === "" ? [] : [`${PORTS}=${ports}`]),
      ...restartLabels(restart),
    ],
    mount: [...listOf(options, "mount"), ...listOf(options, "volume").map(volumeMount)],
    memoryLimit: textOf(options, "memory"),
    cwd: textOf(options, "workdir"),
    netHost: made.network === "host",
    hostname: textOf(options, "hostname"),
    platform: listOf(options, "platform")[0] ?? "",
    capAdd: capabilities(options, "capAdd"),
    capDrop: capabilities(options, "capDrop"),
    seccomp: options["privileged"] !== true,
    cpuQuota: "-1",
    runtime: textOf(options, "runtime") || "io.containerd.runc.v2",
  };
}

/** `-v SOURCE:TARGET[:ro]` as a mount; a source without a slash is a named volume. */
function volumeMount(text: string): string {
  const [source = "", target = "", mode = "rw", ...rest] = text.split(":");
  if (source === "" || !target.startsWith("/") || rest.length > 0 || !/^(ro|rw)$/.test(mode))
    throw invalidArgument(
      `volume "${text}": want SOURCE:TARGET or SOURCE:TARGET:ro, TARGET an absolute path`,
    );
  if (/,/.test(text))
    throw invalidArgument(`volume "${text}": paths with commas cannot be mounted so; use --mount`);
  const named = !/^[./~]/.test(source);
  const path = named ? volumeDir(checkIdentifier(source)) : resolve(source);
  if (!existsSync(path)) mkdirSync(path, { recursive: true });
  return `type=bind,src=${path},dst=${target},options=rbind:${mode}`;
}

function writeFiles(dir: string, hostname: string, dns: readonly string[], hosts: readonly string[]): void {
  writeFileSync(join(dir, "hostname"), `${hostname}\n`);
  const extra = hosts.map((h) => {
    const at = h.indexOf(":");
    if (at < 1) throw invalidArgument(`flag --add-host "${h}": want NAME:ADDRESS`);
    return `${h.slice(at + 1)}\t${h.slice(0, at)}\n`;
  });
  writeFileSync(join(dir, "hosts"), hostsFile(hostname, []) + extra.join(""));
  const own = dns.map((server) => `nameserver ${server}\n`).join("");
  writeFileSync(join(dir, "resolv.conf"), own || hostResolvConf());
}

/** The host's name servers, without those that only the host itself can reach. */
function hostResolvConf(): string {
  const read = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");
  let text = read("/etc/resolv.conf");
  // systemd-resolved listens on a loopback address and keeps the real servers here
  if (/^nameserver 127\.0\.0\.53\b/m.test(text)) text = read("/run/systemd/resolve/resolv.conf") || text;
  return text.replace(/^nameserver (127\.|::1).*\n?/gm, "");
}

function addFiles(spec: Spec, dir: string, hostNetwork: boolean): void {
  const own = hostNetwork ? [] : ["hostname", "hosts", "resolv.conf"];
  const mounts = spec.mounts ?? [];
  for (const name of own) {
    if (mounts.some((m) => m.destination === `/etc/${name}`)) continue;
    mounts.push({
      destination: `/etc/${name}`,
      type: "bind",
      source: join(dir, name),
      options: ["rbind", "rw"],
    });
  }
  spec.mounts = mounts;
}

/** --entrypoint replaces the image's entrypoint and command. */
function entrypoint(spec: Spec, given: string, args: readonly string[]): void {
  const p = processOf(spec);
  if (given !== "") p.args = [given, ...args];
  spec.annotations = { ...spec.annotations, [COMMAND]: (p.args ?? []).join(" ").slice(0, 200) };
}

/** Kept for tests: what a call's namespace is used for in names. */
export type RunCall = NamespacedCall;
