/** Where the files of containers made by `gantry run` are. */
import { join } from "node:path";

/** Root of everything; a test has its own. */
export function engineRoot(): string {
  return process.env["GANTRY_ENGINE_ROOT"] || "/var/lib/gantry";
}

/** Folder of one container: log, hosts, hostname, resolv.conf, network.json. */
export function containerDir(namespace: string, id: string): string {
  return join(engineRoot(), "containers", namespace, id);
}

/** Folder of a named volume. */
export function volumeDir(name: string): string {
  return join(engineRoot(), "volumes", name);
}

/** Log file of a container. */
export function logPath(namespace: string, id: string): string {
  return join(containerDir(namespace, id), "container.log");
}
