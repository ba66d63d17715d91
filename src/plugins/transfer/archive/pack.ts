/** Writes outer archives with tar-stream: plain files and folders with fixed times and owners, so that equal images give equal bytes. */
import { pack } from "tar-stream";

type Sink = ReturnType<ReturnType<typeof pack>["entry"]>;

/** One entry of an archive. */
export interface PackEntry {
  readonly name: string;
  /** Bytes of a file and its content; undefined for a folder. */
  readonly file?:
    | {
        readonly size: bigint;
        readonly content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
        /** Default: readable by all. */
        readonly mode?: number | undefined;
      }
    | undefined;
}

/** The archive's bytes, at the pace of their reader. An entry whose content is not as long as it said fails the archive. */
export async function* packArchive(
  entries: AsyncIterable<PackEntry>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const archive = pack();
  const feeding = feed(archive, entries).catch((err: unknown) => {
    archive.destroy(err instanceof Error ? err : new Error(String(err)));
  });
  try {
    for await (const chunk of archive) yield chunk as Uint8Array;
    await feeding;
  } finally {
    archive.destroy();
  }
}

async function feed(archive: ReturnType<typeof pack>, entries: AsyncIterable<PackEntry>): Promise<void> {
  const fixed = { mtime: new Date(0), uid: 0, gid: 0, uname: "", gname: "" };
  for await (const { name, file } of entries) {
    if (file === undefined) {
      archive.entry({ ...fixed, name: `${name}/`, type: "directory", mode: 0o755 });
      continue;
    }
    const done = Promise.withResolvers<void>();
    const sink = archive.entry(
      { ...fixed, name, size: Number(file.size), mode: file.mode ?? 0o444 },
      (err) => (err ? done.reject(err) : done.resolve()),
    );
    // waited for below; a failure must not count as unhandled before that
    done.promise.catch(() => {});
    for await (const chunk of file.content) {
      // the sink keeps what it was given until it is read: hand over a copy, the buffer may be used again
      if (!sink.write(chunk.slice())) await Promise.race([drained(sink), done.promise]);
    }
    sink.end(null);
    await done.promise;
  }
  archive.finalize();
}

function drained(sink: Sink): Promise<void> {
  return new Promise((resolve) => sink.once("drain", () => resolve()));
}
