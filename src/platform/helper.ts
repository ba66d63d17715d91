/**
 * Work that must not happen in a long-lived process (namespaces, roots): the daemon starts this same program as
 * `gantry helper NAME ARGS`, which does one thing by synchronous calls and ends (stack.md 10).
 */
const helpers: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  "netns-pin": async ([path]) => {
    if (path === undefined) throw new TypeError("want a path");
    const { pinNewNetns } = await import("./net/netns-helper.ts");
    pinNewNetns(path);
  },
  "netns-pins": async () => {
    const { pinNetnsPerLine } = await import("./net/netns-helper.ts");
    pinNetnsPerLine();
  },
  "namespaces-pin": async ([wanted]) => {
    if (wanted === undefined) throw new TypeError("want what to make as JSON");
    const { makePinned } = await import("./net/pin-namespaces.ts");
    makePinned(JSON.parse(wanted));
  },
  "netns-connect": async ([path, port]) => {
    if (path === undefined || port === undefined) throw new TypeError("want a path and a port");
    const { sendLoopbackConnection } = await import("./net/netns-helper.ts");
    sendLoopbackConnection(path, Number(port));
  },
  /** Tells where a path really is, making a folder when nothing is there: for file systems that may not answer. */
  "bind-source": async ([path]) => {
    if (path === undefined) throw new TypeError("want a path");
    const { mkdirSync, realpathSync, statSync } = await import("node:fs");
    if (statSync(path, { throwIfNoEntry: false }) === undefined)
      mkdirSync(path, { recursive: true, mode: 0o755 });
    process.stdout.write(realpathSync(path));
  },
  /** Copies what a folder holds into another one. */
  "copy-tree": async ([from, to]) => {
    if (from === undefined || to === undefined) throw new TypeError("want two paths");
    const { copyTreeSync } = await import("./fs/copy-tree.ts");
    copyTreeSync(from, to);
  },
  /** One mount of the mount manager: images and file systems of any origin. */
  mount: async ([mount, target]) => {
    if (mount === undefined || target === undefined) throw new TypeError("want a mount as JSON and a place");
    const { mountErofs } = await import("./mounts/erofs.ts");
    mountErofs(JSON.parse(mount), target);
  },
  /** A file as a loop device that stays, and a link to it. */
  "attach-loop": async ([file, link, options]) => {
    if (file === undefined || link === undefined) throw new TypeError("want a file and a link");
    const { attachLoopAt } = await import("./mounts/loop.ts");
    attachLoopAt(file, link, JSON.parse(options ?? "{}"));
  },
  /** Takes down what is mounted at a place: the last one of a file system writes what it holds. */
  unmount: async ([target]) => {
    if (target === undefined) throw new TypeError("want a place");
    const [{ unmountAll }, { MNT_DETACH }] = await Promise.all([
      import("./mounts/mounts.ts"),
      import("./syscalls/constants.ts"),
    ]);
    await unmountAll(target, MNT_DETACH);
  },
  /** Removes a tree that others filled, so that the daemon's loop stays free. */
  "remove-tree": async (paths) => {
    const { removeTreeSync } = await import("./fs/remove-tree.ts");
    for (const path of paths) removeTreeSync(path);
  },
};

/**
 * Runs one helper.
 * @returns the exit code; the reason of a failure is on stderr
 */
export async function runHelper(args: readonly string[]): Promise<number> {
  const [name = "", ...rest] = args;
  const helper = Object.hasOwn(helpers, name) ? helpers[name] : undefined;
  if (helper === undefined) {
    process.stderr.write(`helper "${name}": unknown\n`);
    return 64;
  }
  try {
    await helper(rest);
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}
