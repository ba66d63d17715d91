/** What runs in a container: command, environment, folder. */
import type { ContainerConfig, KeyValue } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import { DEFAULT_PATH } from "../../oci/spec/default.ts";
import { type ImageRunConfig, mergeEnv } from "../../oci/spec/options.ts";

/**
 * Command of a container. CRI's command replaces the image's entry point (and its Cmd goes, too); CRI's arguments replace Cmd.
 * @throws invalid-argument when nothing would run
 */
export function commandOf(config: ContainerConfig, image: ImageRunConfig): string[] {
  const { command } = config;
  // an entry point [""] takes back the one of the image's base
  const entrypoint = image.entrypoint.length === 1 && image.entrypoint[0] === "" ? [] : image.entrypoint;
  const line =
    command.length > 0
      ? [...command, ...config.args]
      : [...entrypoint, ...(config.args.length > 0 ? config.args : image.cmd)];
  if (line.length === 0) throw invalidArgument("no command specified");
  for (const part of line) if (part.includes("\0")) throw invalidArgument("command: contains a NUL byte");
  return line;
}

/** Environment: default PATH, TERM (terminals), HOSTNAME, the image's, the request's; later ones win by name. @throws invalid-argument */
export function environmentOf(config: ContainerConfig, image: ImageRunConfig, hostname: string): string[] {
  const base = [DEFAULT_PATH, ...(config.tty ? ["TERM=xterm"] : []), `HOSTNAME=${hostname}`];
  const env = mergeEnv(mergeEnv(base, image.env), config.envs.map(textOf));
  const home = env.find((entry) => entry.startsWith("HOME="));
  // what writes it into a user database would let it add lines there (S23)
  if (home !== undefined && /[\n:]/.test(home.slice(5)))
    throw invalidArgument("environment variable HOME: contains a newline or a colon");
  return env;
}

/** CRI's values are bytes, a spec's are text. */
function textOf({ key, value }: KeyValue): string {
  try {
    return `${key}=${new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value)}`;
  } catch (cause) {
    throw invalidArgument(`environment variable "${key}": the value is not UTF-8 text`, { cause });
  }
}

/** Working directory. @throws invalid-argument for one inside /proc/self/fd, which would lead out (S27) */
export function folderOf(config: ContainerConfig, image: ImageRunConfig): string {
  const cwd = config.workingDir !== "" ? config.workingDir : image.workingDir;
  if (cwd === "") return "/";
  if (cwd.includes("\0")) throw invalidArgument("working directory: contains a NUL byte");
  if (
    /^\/+proc\/+(?:self|thread-self|\d+|self\/+task\/+\d+)\/+(?:fd|fdinfo|root|cwd)(?:\/|$)/.test(
      cwd.replaceAll("/./", "/"),
    )
  )
    throw invalidArgument(`working directory "${cwd}": leads through a process's open files`);
  return cwd.startsWith("/") ? cwd : `/${cwd}`;
}
