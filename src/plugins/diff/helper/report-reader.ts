/**
 * Reads what a helper says. It handles layers of strangers, so what it says is judged like theirs: nonsense fails its layer and
 * nothing else.
 */
import { GantryError, internal, isErrorCode, messageOf } from "../../../core/errors.ts";
import type { UnpackReport } from "./protocol.ts";

/** Longest report, in characters: twenty warnings with the longest names fit several times. */
const MAX_REPORT = 1 << 20;

/** Cuts a helper's stdout into reports. */
export class ReportReader {
  readonly #decoder = new TextDecoder();
  #line = "";

  /** True between two reports. */
  get atBoundary(): boolean {
    return this.#line === "";
  }

  /** The reports that `chunk` completes. @throws internal when a line is none, or does not end */
  *push(chunk: Uint8Array): Generator<UnpackReport, void, void> {
    this.#line += this.#decoder.decode(chunk, { stream: true });
    for (let end = this.#line.indexOf("\n"); end >= 0; end = this.#line.indexOf("\n")) {
      const line = this.#line.slice(0, end);
      this.#line = this.#line.slice(end + 1);
      yield parseReport(line);
    }
    if (this.#line.length > MAX_REPORT)
      throw internal(`read a helper's report: longer than ${MAX_REPORT} characters`);
  }
}

function parseReport(line: string): UnpackReport {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (err) {
    throw internal(`read a helper's report: ${messageOf(err)}`, { cause: err });
  }
  if (typeof value !== "object" || value === null || !("type" in value))
    throw internal("read a helper's report: it has no type");
  return value as UnpackReport;
}

/** The error that a helper reports. */
export function reportedError(report: Extract<UnpackReport, { type: "error" }>): GantryError {
  const code = isErrorCode(report.code) ? report.code : "internal";
  return new GantryError(code, report.message, report.hint === undefined ? {} : { hint: report.hint });
}
