/** logs. */
import { Buffer } from "node:buffer";
import { dirname, extname, join } from "node:path";
import { ContainerState } from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import {
  failedPrecondition,
  invalidArgument,
  isDeadlineExceeded,
  isNotFound,
  isUnavailable,
  notFound,
  wrap,
} from "../../../core/errors.ts";
import { nowNs } from "../../../lib/time.ts";
import { interrupted } from "../../shared/interrupt.ts";
import type { Action } from "../command.ts";
import { readLog } from "../logs/read.ts";
import { parseSince } from "../logs/since.ts";
import { integer, on, text } from "../options.ts";

export const logs: Action = async (context, args, options) => {
  await using cri = context;
  const [containerId = ""] = args;
  if (containerId === "") throw invalidArgument("ID cannot be empty");
  const stream = text(options, "stream");
  if (!["", "stdout", "stderr"].includes(stream))
    throw invalidArgument(`invalid stream "${stream}", must be "stdout" or "stderr"`);
  const tail = integer(options, "tail", "--tail") ?? -1;
  if (tail >= 0 && stream !== "") throw invalidArgument("--tail and --stream are mutually exclusive");
  const limit = integer(options, "limitBytes", "--limit-bytes") ?? -1;
  const sinceText = text(options, "since");
  const since = sinceText === "" ? undefined : parseSince(sinceText, nowNs());

  const runtime = await cri.runtime();
  if (on(options, "reopen")) {
    await runtime.reopenContainerLog({ containerId }, cri.options()).catch((err: unknown) => {
      throw wrap(err, "reopen container logs");
    });
    process.stderr.write("Container logs reopened\n");
  }
  const { status } = await runtime.containerStatus({ containerId }, cri.options());
  let path = status?.logPath ?? "";
  if (path === "")
    throw failedPrecondition("the container has not set log path", {
      hint: "set log_directory in the pod's configuration and log_path in the container's",
    });
  if (on(options, "previous")) {
    const attempt = status?.metadata?.attempt ?? 0;
    if (attempt === 0)
      throw notFound(`previous terminated container ${status?.metadata?.name ?? containerId} not found`);
    path = join(dirname(path), `${attempt - 1}${extname(path)}`);
  }
  const running = async (): Promise<boolean> => {
    try {
      const now = (await runtime.containerStatus({ containerId }, cri.options())).status?.state;
      return now === ContainerState.CONTAINER_RUNNING || now === ContainerState.CONTAINER_CREATED;
    } catch (err) {
      if (isNotFound(err)) return false;
      // containers write on while the engine restarts
      if (isUnavailable(err) || isDeadlineExceeded(err)) return true;
      throw err;
    }
  };
  const follow = on(options, "follow");
  const entries = readLog(path, {
    follow,
    tail: tail < 0 ? undefined : tail,
    since,
    signal: interrupted(),
    running,
  });
  const out = new Output(limit < 0 ? Number.POSITIVE_INFINITY : limit);
  const stamps = on(options, "timestamps");
  for await (const entry of entries) {
    if (stream !== "" && entry.stream !== stream) continue;
    const content = stamps ? Buffer.concat([Buffer.from(`${entry.time} `), entry.content]) : entry.content;
    await out.write(entry.stream, content);
    if (out.over) break;
  }
  return 0;
};

/** stdout and stderr with a common limit; a reader that went away ends it. */
class Output {
  #left: number;
  #gone = false;

  constructor(limit: number) {
    this.#left = limit;
    for (const stream of [process.stdout, process.stderr])
      stream.on("error", () => {
        this.#gone = true;
      });
  }

  get over(): boolean {
    return this.#left <= 0 || this.#gone;
  }

  async write(stream: "stdout" | "stderr", bytes: Uint8Array): Promise<void> {
    const part = bytes.length <= this.#left ? bytes : bytes.subarray(0, this.#left);
    this.#left -= part.length;
    const target = process[stream];
    if (part.length === 0 || this.#gone) return;
    if (!target.write(Uint8Array.from(part)))
      await new Promise<void>((resolve) => {
        target.once("drain", resolve);
        target.once("error", () => resolve());
      });
  }
}
