/** How everyday commands say what went wrong. */
import { isCanceled } from "../../core/errors.ts";
import { messageFor, nextStep } from "../shared/explain.ts";
import { interruptStatus } from "../shared/interrupt.ts";
import { OutputUnread, UNREAD_STATUS } from "../shared/unread.ts";

/** Writes one clear line, and what to do next. @returns the exit code, as shells give it */
export function report(err: unknown): number {
  if (err instanceof OutputUnread) return UNREAD_STATUS;
  const status = interruptStatus();
  if (status !== undefined && isCanceled(err)) {
    process.stderr.write("gantry: interrupted\n");
    return status;
  }
  const text = messageFor(err);
  const [code, hint] = ofCommand(text);
  process.stderr.write(`gantry: ${text}\n`);
  const next = hint ?? nextStep(err);
  if (next !== undefined) process.stderr.write(`        ${next}\n`);
  return code;
}

/** A program that cannot be started has the exit codes that shells and Docker give it. */
function ofCommand(text: string): [code: number, hint: string | undefined] {
  const match = /unable to start container process: .*exec: "([^"]*)": (.*)/.exec(text);
  if (match === null) return [1, undefined];
  const [, program = "", why = ""] = match;
  if (/permission denied/.test(why))
    return [126, `"${program}" is in the image, but not executable (or not for this user)`];
  return [127, `the image has no program "${program}": check the spelling, and the image's PATH`];
}
