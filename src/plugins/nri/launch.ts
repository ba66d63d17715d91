/** Plugins that are installed on the machine: files `INDEX-NAME` in the plugin folder, started with a connected socket as fd 3. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Logger } from "../../core/log.ts";
import { type ChildHandle, spawnProcess } from "../../platform/process/spawn.ts";
import { close } from "../../platform/syscalls/files.ts";
import { SOCK_STREAM, socketpair } from "../../platform/syscalls/socket.ts";
import { FdDuplex } from "./fd-duplex.ts";
import type { Preset } from "./remote.ts";

/** A plugin on disk. */
export interface Installed extends Preset {
  readonly path: string;
}

/** Executable files `NN-name` of the folder, in order, with their configuration. A folder that is missing has none. */
export function installedPlugins(dir: string, configDir: string, log: Logger): Installed[] {
  let names: string[];
  try {
    names = readdirSync(dir).sort();
  } catch {
    return [];
  }
  const all: Installed[] = [];
  for (const file of names) {
    const path = join(dir, file);
    try {
      const stat = statSync(path);
      if (!stat.isFile() || (stat.mode & 0o111) === 0) continue;
    } catch {
      continue;
    }
    const [, index, name] = /^([0-9]{2})-([a-zA-Z0-9_.+-]+)$/.exec(file) ?? [];
    if (index === undefined || name === undefined) {
      log.warn("NRI plugin is left out: its file must be named INDEX-NAME with two digits", { path });
      continue;
    }
    all.push({ path, index, name, config: configOf(configDir, `${index}-${name}`, name) });
  }
  return all;
}

/** `INDEX-NAME.conf`, else `NAME.conf`, else nothing. @throws when there is one that cannot be read */
function configOf(dir: string, id: string, name: string): string {
  for (const file of [`${id}.conf`, `${name}.conf`]) {
    try {
      return readFileSync(join(dir, file), "utf8");
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== "ENOENT") throw err;
    }
  }
  return "";
}

/** Starts a plugin. @throws when it cannot be executed */
export function launch(plugin: Installed): { readonly socket: Duplex; readonly child: ChildHandle } {
  const [ours, theirs] = socketpair(SOCK_STREAM, false);
  try {
    const child = spawnProcess(plugin.path, [], {
      stdio: ["ignore", "ignore", "ignore", theirs],
      env: { NRI_PLUGIN_NAME: plugin.name, NRI_PLUGIN_IDX: plugin.index, NRI_PLUGIN_SOCKET: "3" },
    });
    return { socket: new FdDuplex(ours), child };
  } catch (err) {
    close(ours);
    throw err;
  } finally {
    close(theirs);
  }
}
