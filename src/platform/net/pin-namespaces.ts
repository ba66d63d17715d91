/** Namespaces without a process: made in a helper process, kept by mounts. */
import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { text } from "../ffi/memory.ts";
import { run } from "../process/spawn.ts";
import { reExec } from "../runtime.ts";
import { CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUTS, MS_BIND, O_RDONLY } from "../syscalls/constants.ts";
import { close, open } from "../syscalls/files.ts";
import { mount } from "../syscalls/mount.ts";
import { gettid, sethostname, setns, unshare } from "../syscalls/process.ts";

/** What to make. */
export interface PinnedNamespaces {
  /** Network namespace to be in while parameters are set; undefined = ours. */
  readonly netns?: string | undefined;
  /** Where the new ones are kept; undefined = none is made. */
  readonly ipc?: string | undefined;
  readonly uts?: string | undefined;
  /** Name inside the new UTS namespace; "" leaves ours. */
  readonly hostname: string;
  /** Kernel parameters by their path below /proc/sys. */
  readonly parameters: Readonly<Record<string, string>>;
}

const TIMEOUT_MS = 20_000;

/** Makes and keeps them. @throws Error with the helper's words; what was made stays for the caller to take down */
export async function pinNamespaces(wanted: PinnedNamespaces, signal?: AbortSignal): Promise<void> {
  for (const path of [wanted.ipc, wanted.uts]) {
    if (path === undefined) continue;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    closeSync(openSync(path, "wx", 0o444));
  }
  const self = reExec(["helper", "namespaces-pin", JSON.stringify(wanted)]);
  const done = await run(self.command, self.args, {
    ...(self.argv0 === undefined ? {} : { argv0: self.argv0 }),
    timeoutMs: TIMEOUT_MS,
    ...(signal === undefined ? {} : { signal }),
  });
  if (done.code !== 0)
    throw new Error(`make namespaces: ${text(done.stderr).trim() || `helper exit ${done.code}`}`);
}

/** The child's part. Only for a process that ends right after: its thread stays in the new namespaces. */
export function makePinned(wanted: PinnedNamespaces): void {
  if (wanted.netns !== undefined) {
    const fd = open(wanted.netns, O_RDONLY);
    setns(fd, CLONE_NEWNET);
    close(fd);
  }
  const flags = (wanted.ipc === undefined ? 0 : CLONE_NEWIPC) | (wanted.uts === undefined ? 0 : CLONE_NEWUTS);
  if (flags !== 0) unshare(flags);
  if (wanted.uts !== undefined && wanted.hostname !== "") sethostname(wanted.hostname);
  for (const [path, value] of Object.entries(wanted.parameters)) writeFileSync(`/proc/sys/${path}`, value);
  // the thread's own entry: /proc/self is the main thread's, which need not be ours
  const own = `/proc/self/task/${gettid()}/ns`;
  if (wanted.ipc !== undefined) mount(`${own}/ipc`, wanted.ipc, "none", MS_BIND);
  if (wanted.uts !== undefined) mount(`${own}/uts`, wanted.uts, "none", MS_BIND);
}
