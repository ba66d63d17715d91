/** `gantry helper NAME ...`: short-lived children for calls that must not run in the daemon's own process. */

/** A helper's entry. */
type Helper = (args: string[]) => Promise<number>;

const helpers: Readonly<Record<string, () => Promise<Helper>>> = {
  "attach-loop": platformHelper("attach-loop"),
  "bind-source": platformHelper("bind-source"),
  "copy-tree": platformHelper("copy-tree"),
  mount: platformHelper("mount"),
  "namespaces-pin": platformHelper("namespaces-pin"),
  "netns-connect": platformHelper("netns-connect"),
  "netns-pin": platformHelper("netns-pin"),
  "netns-pins": platformHelper("netns-pins"),
  "remove-tree": platformHelper("remove-tree"),
  unmount: platformHelper("unmount"),
};

/** A helper that is part of the platform layer. */
function platformHelper(name: string): () => Promise<Helper> {
  return async () => {
    const { runHelper } = await import("../../platform/helper.ts");
    return (args) => runHelper([name, ...args]);
  };
}

/** @returns the exit code */
export async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  const load = name !== undefined && Object.hasOwn(helpers, name) ? helpers[name] : undefined;
  if (load === undefined) {
    process.stderr.write(
      `gantry helper: unknown helper "${name ?? ""}"; these are started by the engine itself\n`,
    );
    return 1;
  }
  return (await load())(rest);
}
