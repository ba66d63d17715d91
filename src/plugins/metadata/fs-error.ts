import { diskFull, type GantryError, internal, messageOf, notFound } from "../../core/errors.ts";

/** A file system error as one of ours. */
export function mapFsError(err: unknown, what: string): GantryError {
  const code = err instanceof Error && "code" in err ? err.code : undefined;
  if (code === "ENOSPC" || code === "EDQUOT") return diskFull(what, code, err);
  const text = `${what}: ${messageOf(err)}`;
  if (code === "ENOENT") return notFound(text, { cause: err });
  return internal(text, { cause: err });
}
