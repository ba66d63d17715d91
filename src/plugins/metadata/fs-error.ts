import { type GantryError, internal, messageOf, notFound, resourceExhausted } from "../../core/errors.ts";

/** A file system error as one of ours. */
export function mapFsError(err: unknown, what: string): GantryError {
  const code = err instanceof Error && "code" in err ? err.code : undefined;
  const text = `${what}: ${messageOf(err)}`;
  if (code === "ENOSPC" || code === "EDQUOT")
    return resourceExhausted(text, {
      cause: err,
      hint: "free space on the file system of the root folder",
    });
  if (code === "ENOENT") return notFound(text, { cause: err });
  return internal(text, { cause: err });
}
