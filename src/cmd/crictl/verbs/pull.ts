/** pull, and pulling before a container is made. */
import type { PodSandboxConfig } from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument, wrap } from "../../../core/errors.ts";
import { askPassword } from "../../ctr/password.ts";
import type { Action } from "../command.ts";
import { loadPodConfig } from "../configs.ts";
import type { CriContext } from "../context.ts";
import { labels, list, type Options, text } from "../options.ts";
import { durationMs } from "../settings.ts";

/** Credentials as CRI takes them. */
export interface Auth {
  readonly username?: string;
  readonly password?: string;
  readonly auth?: string;
}

/** Credentials of the flags. @throws invalid-argument */
export async function authOf(options: Options): Promise<Auth | undefined> {
  const [username, creds, auth] = [text(options, "username"), text(options, "creds"), text(options, "auth")];
  if (username !== "") return { username, password: await askPassword("Enter Password:") };
  if (creds !== "" && auth !== "") throw invalidArgument("both --creds and --auth are specified");
  if (auth !== "") return { auth };
  if (creds === "") return undefined;
  const at = creds.indexOf(":");
  if (at === 0)
    throw invalidArgument("credentials: username can't be empty", { hint: "use --creds USER:PASSWORD" });
  return at < 0
    ? { username: creds, password: "" }
    : { username: creds.slice(0, at), password: creds.slice(at + 1) };
}

/** --pull-timeout in milliseconds; undefined for none. @throws invalid-argument */
export function pullTimeout(options: Options): number | undefined {
  const value = text(options, "pullTimeout") || text(options, "pt");
  if (value === "") return undefined;
  const ms = durationMs("--pull-timeout", value);
  if (ms < 0) throw invalidArgument("--pull-timeout should not be negative");
  return ms === 0 ? undefined : ms;
}

/** What to pull. */
export interface Pull {
  readonly name: string;
  readonly auth: Auth | undefined;
  readonly podConfig?: PodSandboxConfig | undefined;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly timeoutMs: number | undefined;
}

/** Pulls, with a live line on a terminal. @returns the id of the image */
export async function pullImage(cri: CriContext, pull: Pull): Promise<string> {
  const images = await cri.images();
  const { showPull } = await import("../pull-progress.ts");
  return showPull(cri, pull.name, async () => {
    const { imageRef } = await images.pullImage(
      {
        image: { image: pull.name, annotations: { ...pull.annotations } },
        ...(pull.auth === undefined ? {} : { auth: pull.auth }),
        ...(pull.podConfig === undefined ? {} : { sandboxConfig: pull.podConfig }),
      },
      pull.timeoutMs === undefined ? cri.options(0) : cri.within(pull.timeoutMs),
    );
    return imageRef;
  });
}

export const pull: Action = async (context, args, options) => {
  await using cri = context;
  const [name, ...more] = args;
  if (name === undefined || name === "") throw invalidArgument("image name cannot be empty");
  if (more.length > 0) throw invalidArgument("only one image can be pulled at a time");
  const podPath = text(options, "podConfig");
  const imageRef = await pullImage(cri, {
    name,
    auth: await authOf(options),
    podConfig: podPath === "" ? undefined : await loadPodConfig(podPath),
    annotations: labels(list(options, "annotation")),
    timeoutMs: pullTimeout(options),
  }).catch((err: unknown) => {
    throw wrap(err, "pulling image");
  });
  process.stdout.write(`Image is up to date for ${imageRef}\n`);
  return 0;
};
