/** Bytes to stdout or a file, as fast as the reader takes them. */
import { stdoutStream } from "../shared/output.ts";

/** Copies to stdout; resolves when the last byte was taken. A reader that went away (`| head`) is no error. */
export async function writeOut(data: AsyncIterable<Uint8Array>): Promise<void> {
  let gone = false;
  const onError = (err: NodeJS.ErrnoException): void => {
    if (err.code !== "EPIPE") throw err;
    gone = true;
  };
  stdoutStream().on("error", onError);
  try {
    for await (const part of data) {
      if (gone) return;
      const bytes = new Uint8Array(part);
      await new Promise<void>((resolve) => stdoutStream().write(bytes, () => resolve()));
    }
  } finally {
    stdoutStream().off("error", onError);
  }
}
