/** Starts Docker's credential helpers. */
import { run } from "../../platform/process/spawn.ts";
import type { RunHelper } from "../../registry/credentials.ts";

/** Largest answer of a helper, in bytes. */
const MAX_OUTPUT = 1 << 20;

/** Runs a helper found in PATH; the whole process group ends with the time limit. */
export const runHelper: RunHelper = async (program, args, input, { timeoutMs, signal }) => {
  const options = { stdin: input, timeoutMs, signal, killGroup: true, maxOutput: MAX_OUTPUT };
  const { code, stdout } = await run(program, args, options);
  return { code, stdout: new TextDecoder().decode(stdout) };
};
