/** Says where to look when a container or task is not there. */
import { isNotFound, notFound } from "../../core/errors.ts";

/** Runs `work`; a not-found without advice of its own gets some. */
export async function hintTask<T>(id: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (err) {
    if (!isNotFound(err) || !(err instanceof Error) || ("hint" in err && err.hint !== undefined)) throw err;
    const about = /container/.test(err.message)
      ? `there is no container "${id}" in this namespace: see ctr containers ls, or name another namespace with -n`
      : `the container has no such running process: see ctr tasks ls; ctr tasks start ${id} starts it`;
    throw notFound(err.message.replace(/: not found$/, ""), { cause: err, hint: about });
  }
}
