/** Several ids at once: all are tried, the first failure decides. */
import { GantryError, messageOf, unknownError } from "../../../core/errors.ts";

/** Runs `each` for all ids; every failure is named. @throws the only failure, or one that lists them */
export async function forAll(ids: readonly string[], each: (id: string) => Promise<void>): Promise<void> {
  const ends = await Promise.allSettled(ids.map(each));
  const failed = ends.filter((end) => end.status === "rejected").map((end): unknown => end.reason);
  if (failed.length === 0) return;
  const [first] = failed;
  if (failed.length === 1) throw first;
  const text = failed.map(messageOf).join("\n        ");
  throw first instanceof GantryError
    ? new GantryError(first.code, text, first.hint === undefined ? {} : { hint: first.hint })
    : unknownError(text);
}

/** Containers or pods of `rm -a` and the like. */
export interface Listed {
  readonly id: string;
}
