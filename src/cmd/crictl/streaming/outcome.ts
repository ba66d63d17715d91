/** What the error stream says at the end: nothing, text, or a Kubernetes Status. */
import type { ByteSource } from "../../../cri/streaming/runtime.ts";
import { concatBytes, utf8Decode } from "../../../lib/bytes.ts";

/** How a remote process ended. */
export interface Outcome {
  /** Exit code of the process; 0 also for an attach that ended well. Undefined when it did not run to its end. */
  readonly code: number | undefined;
  /** Empty for success. */
  readonly message: string;
}

const SUCCESS: Outcome = { code: 0, message: "" };
const MAX_BYTES = 1 << 20;

/** Reads the error stream to its end. */
export async function readOutcome(error: ByteSource, version: number): Promise<Outcome> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of error) {
    size += part.length;
    if (size <= MAX_BYTES) parts.push(part);
  }
  return parseOutcome(utf8Decode(concatBytes(parts)), version);
}

/** Below version 4 everything but nothing is an error's text; from then on nothing means that the end was never told. */
export function parseOutcome(text: string, version: number): Outcome {
  const failed = (message: string): Outcome => ({ code: undefined, message });
  if (text === "") return version < 4 ? SUCCESS : failed("the connection was lost before it ended");
  if (version < 4) {
    const code = /exited with (?:code )?(\d+)|exit code:? (\d+)/i.exec(text);
    return code === null ? failed(text) : { code: Number(code[1] ?? code[2]), message: text };
  }
  let status: unknown;
  try {
    status = JSON.parse(text);
  } catch {
    return failed(text);
  }
  if (typeof status !== "object" || status === null) return failed(text);
  const { status: verdict, reason, message, details } = status as Record<string, unknown>;
  if (verdict === "Success") return SUCCESS;
  if (reason === "NonZeroExitCode") {
    const code = exitCode(details);
    if (code !== undefined) return { code, message: `command terminated with exit code ${code}` };
  }
  return failed(typeof message === "string" && message !== "" ? message : text);
}

function exitCode(details: unknown): number | undefined {
  if (typeof details !== "object" || details === null || !("causes" in details)) return undefined;
  const { causes } = details;
  if (!Array.isArray(causes)) return undefined;
  for (const cause of causes as unknown[]) {
    if (typeof cause !== "object" || cause === null) continue;
    const { reason, message } = cause as Record<string, unknown>;
    if (reason === "ExitCode" && typeof message === "string" && /^\d+$/.test(message)) return Number(message);
  }
  return undefined;
}
