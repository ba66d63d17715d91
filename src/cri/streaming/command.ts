import { messageOf } from "../../core/errors.ts";
import { utf8Encode } from "../../lib/bytes.ts";
import type { AttachRequest, ByteSink, ExecRequest, StdioStreams, StreamingRuntime } from "./runtime.ts";

/** An exec or attach that waits for its client, or is being served. */
export type Command =
  | { readonly kind: "exec"; readonly request: ExecRequest }
  | { readonly kind: "attach"; readonly request: AttachRequest };

/** What a protocol made of a client's connection. */
export interface CommandChannels {
  readonly streams: StdioStreams;
  /** Where the outcome goes. */
  readonly error: ByteSink;
  /** Protocol 4 and later: the outcome is always told, as a Kubernetes Status; before, only failures as plain text. */
  readonly statusAsJson: boolean;
}

/** Runs the command with the channels, then tells the client the outcome and closes its streams. Never throws. */
export async function runCommand(
  runtime: StreamingRuntime,
  command: Command,
  channels: CommandChannels,
): Promise<void> {
  const { streams } = channels;
  const status = await outcome(runtime, command, streams);
  await streams.stdout?.close();
  await streams.stderr?.close();
  const text = channels.statusAsJson ? JSON.stringify(status) : (status.message ?? "");
  if (text !== "") await channels.error.write(utf8Encode(text)).catch(() => {});
  await channels.error.close();
}

/** The part of Kubernetes' meta/v1 Status that clients of exec read. */
interface Status {
  readonly metadata: Record<string, never>;
  readonly status: "Success" | "Failure";
  readonly message?: string;
  readonly reason?: "NonZeroExitCode" | "InternalError";
  readonly details?: { readonly causes: readonly { readonly reason?: string; readonly message: string }[] };
  readonly code?: number;
}

async function outcome(runtime: StreamingRuntime, command: Command, streams: StdioStreams): Promise<Status> {
  try {
    const exitCode = await run(runtime, command, streams);
    if (exitCode === 0) return { metadata: {}, status: "Success" };
    return {
      metadata: {},
      status: "Failure",
      message: `command terminated with non-zero exit code: exit status ${exitCode}`,
      reason: "NonZeroExitCode",
      details: { causes: [{ reason: "ExitCode", message: `${exitCode}` }] },
    };
  } catch (err) {
    const doing =
      command.kind === "exec" ? "error executing command in container" : "error attaching to container";
    const message = `${doing}: ${messageOf(err)}`;
    return {
      metadata: {},
      status: "Failure",
      message: `Internal error occurred: ${message}`,
      reason: "InternalError",
      details: { causes: [{ message }] },
      code: 500,
    };
  }
}

async function run(runtime: StreamingRuntime, command: Command, streams: StdioStreams): Promise<number> {
  if (command.kind === "exec") return runtime.exec(command.request, streams);
  await runtime.attach(command.request, streams);
  return 0;
}
