/** Bytes on their way to the end of an ingest's file. */
import { open } from "node:fs/promises";
import { diskFull } from "../../core/errors.ts";

/** Appends a stream to a file, piece by piece as it comes. @throws what the stream throws; resource-exhausted (disk full) */
export async function appendAll(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  await using file = await open(path, "a", 0o600).catch(failed);
  for await (const chunk of bytes) await file.appendFile(chunk).catch(failed);
}

function failed(err: unknown): never {
  const code = err instanceof Error && "code" in err ? err.code : undefined;
  if (code === "ENOSPC" || code === "EDQUOT") throw diskFull("write blob", code, err);
  throw err;
}
