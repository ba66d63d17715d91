import { wrap } from "../../core/errors.ts";
import type { AttachRequest, StdioStreams } from "../streaming/runtime.ts";
import type { ExecDeps } from "./deps.ts";
import { applySizes, feed, gone, Outputs } from "./exec.ts";
import { makeFifos } from "./fifos.ts";
import { runningContainer } from "./process.ts";

/** How long the last output of a container that ended is waited for. Milliseconds. */
const DRAIN_MS = 4000;

/** How long a shim may take to answer, milliseconds. */
const SHIM_MS = 30_000;

/**
 * Connects a client to the container's own process: its output from now on (the log goes on besides), and its input when the
 * container has one. Ends with the container, or when the client leaves. The client's end of input ends the process's only
 * for a container with stdin_once (and no terminal).
 * @throws failed-precondition when the runtime's shim cannot add readers to a running container
 */
export async function attach(deps: ExecDeps, request: AttachRequest, streams: StdioStreams): Promise<void> {
  const { view, tasks, log } = deps;
  const container = runningContainer(view, request.containerId, "attach");
  const { id, config } = container;
  const left = new AbortController();
  const call = view.call.until(left.signal);
  const state = await tasks.get(call.within(SHIM_MS), id, "");
  const fifos = makeFifos(deps.ioDir, {
    stdin: false,
    stdout: streams.stdout !== undefined,
    stderr: streams.stderr !== undefined,
    tty: config.tty,
  });
  let input: { abandon(): void } | undefined;
  try {
    const wanted = new Map<string, string>();
    if (fifos.stdio.stdout !== "") wanted.set("gantry.attach.stdout", fifos.stdio.stdout);
    if (fifos.stdio.stderr !== "") wanted.set("gantry.attach.stderr", fifos.stdio.stderr);
    if (wanted.size > 0) {
      await tasks.update(call.within(SHIM_MS), id, undefined, wanted).catch((err: unknown) => {
        throw wrap(err, `attach to container "${id}"`);
      });
    }
    fifos.opened();
    const outputs = new Outputs(left.signal, streams.signal);
    outputs.copy(fifos.stdout, streams.stdout);
    outputs.copy(fifos.stderr, streams.stderr);
    // input for a container that was created without stdin goes nowhere
    if (streams.stdin !== undefined && state.stdin !== "") {
      const ends = config.stdinOnce && !config.tty;
      input = feed(state.stdin, streams.stdin, async () => {
        if (ends) await tasks.closeIO(view.call, id, "", true).catch(() => {});
      });
    }
    void applySizes(
      streams.resize,
      (size) => tasks.resizePty(view.call, id, "", size.columns, size.rows),
      log,
    );
    const exited = tasks.wait(call, id, "").then(
      () => true,
      () => true,
    );
    if ((await Promise.race([exited, gone(streams.signal)])) === true && !streams.signal.aborted)
      await Promise.race([outputs.drained(DRAIN_MS), gone(streams.signal)]);
  } finally {
    left.abort();
    input?.abandon();
    fifos.dispose();
  }
}
