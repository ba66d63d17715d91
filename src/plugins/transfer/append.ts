/** Bytes on their way to the end of an ingest's file. */
import { open } from "node:fs/promises";
import { diskFull } from "../../core/errors.ts";

/**
 * Appends what a stream gives to a file, piece by piece as it comes, until it ends or `enough` says so.
 * @returns true when the stream has ended
 * @throws what the stream throws; resource-exhausted (disk full)
 */
export async function appendUntil(
  path: string,
  bytes: AsyncIterator<Uint8Array, void, undefined>,
  enough: () => boolean,
): Promise<boolean> {
  await using file = await open(path, "a", 0o600).catch(failed);
  while (!enough()) {
    const next = await bytes.next();
    if (next.done === true) return true;
    await file.appendFile(next.value).catch(failed);
  }
  return false;
}

function failed(err: unknown): never {
  const code = err instanceof Error && "code" in err ? err.code : undefined;
  if (code === "ENOSPC" || code === "EDQUOT") throw diskFull("write blob", code, err);
  throw err;
}
