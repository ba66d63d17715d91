/** CPU profiles of this process, in the format that Chromium's and VS Code's viewers read. */
import { Session } from "node:inspector";

/** Samples for `seconds`. @returns a .cpuprofile document */
export async function cpuProfile(seconds: number): Promise<string> {
  const session = new Session();
  session.connect();
  const post = (method: string): Promise<unknown> =>
    new Promise((resolve, reject) => {
      session.post(method, (err: Error | null, result: unknown) =>
        err === null ? resolve(result) : reject(err),
      );
    });
  try {
    await post("Profiler.enable");
    await post("Profiler.start");
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const { profile } = (await post("Profiler.stop")) as { profile: unknown };
    return JSON.stringify(profile);
  } finally {
    session.disconnect();
  }
}
