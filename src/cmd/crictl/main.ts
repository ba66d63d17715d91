/**
 * The `crictl` mode. The CRI service it would talk to is not part of the engine yet, so every command says so: an answer
 * that looks like one would be worse.
 */

/** @returns the exit code */
export async function main(_args: string[]): Promise<number> {
  process.stderr.write("crictl: not implemented: this engine does not serve CRI yet\n");
  process.stderr.write(
    "        use ctr for images and containers; crictl of another package works with other engines\n",
  );
  return 1;
}
