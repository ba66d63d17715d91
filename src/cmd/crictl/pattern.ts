/** Regular expressions of flags: Go's, as users of crictl write them (`(?i)web`). */
import { invalidArgument, messageOf } from "../../core/errors.ts";
import { compileRegexp, type Regexp } from "../../core/filters/regexp.ts";

/** An expression; an empty one matches everything. @throws invalid-argument */
export function pattern(source: string): Regexp {
  if (source === "") return { test: () => true };
  try {
    return compileRegexp(source);
  } catch (err) {
    throw invalidArgument(`invalid regular expression "${source}": ${messageOf(err)}`, { cause: err });
  }
}
