/** Files of a pod's state directory: hostname, hosts, resolv.conf, shm. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { chmod, chown } from "node:fs/promises";
import { join } from "node:path";
import type { DNSConfig, PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import { mountOne, unmountTree } from "../../platform/mounts/mounts.ts";
import { isErrno } from "../../platform/syscalls/errors.ts";
import { NAMESPACE_MODE, POD_FILES } from "../spec/constants.ts";
import { userMappings } from "../spec/userns.ts";

/** Size of a pod's /dev/shm. */
const SHM_SIZE = "67108864";
/** As many search domains as C libraries take. */
const MAX_SEARCHES = 32;

/** Makes the directory and what is in it. The state folder is in memory: its calls do not wait. */
export async function makePodFiles(dir: string, config: PodSandboxConfig, hostname: string): Promise<void> {
  const options = config.linux?.securityContext?.namespaceOptions;
  const userns = userMappings(options?.usernsOptions);
  // a user namespace's root has to get through
  mkdirSync(dir, { recursive: true, mode: userns === undefined ? 0o700 : 0o711 });
  const write = (name: string, content: string): void =>
    writeFileSync(join(dir, name), content, { mode: 0o644 });
  write(POD_FILES.hostname, `${config.hostname === "" ? hostname : config.hostname}\n`);
  write(POD_FILES.hosts, readIfThere("/etc/hosts"));
  write(POD_FILES.resolvConf, dnsText(config.dnsConfig) ?? readIfThere("/etc/resolv.conf"));
  const shm = join(dir, POD_FILES.shm);
  if (!hostIpc(config)) mkdirSync(shm, { mode: 0o700 });
  const [uid] = userns?.uids ?? [];
  const [gid] = userns?.gids ?? [];
  if (uid !== undefined && gid !== undefined) {
    // the pod's root owns them: no id mapped mount is needed, which tmpfs has since Linux 6.3 only
    const { hostname: name, hosts: hostsFile, resolvConf } = POD_FILES;
    await Promise.all([name, hostsFile, resolvConf].map((f) => chown(join(dir, f), uid.hostID, gid.hostID)));
  }
  if (hostIpc(config)) return;
  mountOne(
    {
      type: "tmpfs",
      source: "shm",
      options: ["noexec", "nosuid", "nodev", "mode=1777", `size=${SHM_SIZE}`],
    },
    shm,
  );
  if (uid !== undefined && gid !== undefined) {
    await chown(shm, uid.hostID, gid.hostID);
    await chmod(shm, 0o1777);
  }
}

/** Takes mounts down and removes the directory; nothing there is fine. */
export async function removePodFiles(dir: string): Promise<void> {
  await unmountPodFiles(dir);
  await removeTree(dir);
}

/** Takes down what is mounted in the directory. */
export async function unmountPodFiles(dir: string): Promise<void> {
  await unmountTree(dir);
}

function hostIpc(config: PodSandboxConfig): boolean {
  const ipc: number | undefined = config.linux?.securityContext?.namespaceOptions?.ipc;
  return ipc === NAMESPACE_MODE.node;
}

/** resolv.conf of a DNS configuration; undefined = the node's. @throws invalid-argument */
export function dnsText(dns: DNSConfig | undefined): string | undefined {
  if (dns === undefined) return undefined;
  const { servers, searches, options } = dns;
  if (searches.length > MAX_SEARCHES)
    throw invalidArgument(`DNSOption.Searches has more than ${MAX_SEARCHES} domains`);
  for (const word of [...servers, ...searches, ...options])
    if (/[\0-\x20\x7f]/.test(word))
      throw invalidArgument(`DNS configuration: "${word}" contains white space`);
  const lines = [
    ...(searches.length === 0 ? [] : [`search ${searches.join(" ")}`]),
    ...servers.map((s) => `nameserver ${s}`),
    ...(options.length === 0 ? [] : [`options ${options.join(" ")}`]),
  ];
  return lines.length === 0 ? undefined : `${lines.join("\n")}\n`;
}

/** The text of a file of the node; "" when there is none. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (err) {
    if (isErrno(err, "ENOENT")) return "";
    throw err;
  }
}
