/** Writes Docker's `config.json`: what `ctr registry login` keeps is what docker, podman, skopeo and buildah read too. */
import { chmod, mkdir, open, readFile, realpath, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { failedPrecondition, invalidArgument, unavailable } from "../core/errors.ts";
import { callHelper, dockerConfigPath, dockerKeys, type RunHelper } from "./credentials.ts";

/** A name and a password, or an identity token with an empty name. */
export interface Login {
  readonly username: string;
  readonly secret: string;
}

/** How the file is found and helpers are started. */
export interface DockerConfigOptions {
  /** Default: the usual place. */
  readonly path?: string | undefined;
  readonly runHelper?: RunHelper | undefined;
  readonly signal: AbortSignal;
}

type Table = Record<string, unknown>;

/**
 * Keeps a login for `host`: with the helper that the file names for it, else in the file itself (mode 0600).
 * @returns where it is kept, for people
 * @throws invalid-argument when the file is no Docker configuration, unavailable when the helper fails
 */
export async function storeLogin(host: string, login: Login, o: DockerConfigOptions): Promise<string> {
  const file = await readConfig(o);
  const key = dockerKeys(host)[0] ?? host;
  const helper = helperOf(file.doc, host);
  const auths = tableAt(file.doc, "auths", file.path);
  if (helper !== undefined) {
    const input = JSON.stringify({
      ServerURL: key,
      Username: login.username === "" ? "<token>" : login.username,
      Secret: login.secret,
    });
    const { code } = await callHelper(o.runHelper, helper, "store", input, o.signal);
    if (code !== 0) throw unavailable(`credential helper "${helper}": store failed with exit code ${code}`);
    // Docker's mark that the helper knows this host.
    auths[key] = {};
    await writeConfig(file.path, file.doc);
    return `credential helper ${helper}`;
  }
  auths[key] =
    login.username === ""
      ? { identitytoken: login.secret }
      : { auth: Buffer.from(`${login.username}:${login.secret}`).toString("base64") };
  await writeConfig(file.path, file.doc);
  return file.path;
}

/** Forgets what is kept for `host`. @returns where it was kept; empty when nowhere */
export async function eraseLogin(host: string, o: DockerConfigOptions): Promise<string[]> {
  const file = await readConfig(o);
  const out: string[] = [];
  const helper = helperOf(file.doc, host);
  if (helper !== undefined) {
    const key = dockerKeys(host)[0] ?? host;
    const { code } = await callHelper(o.runHelper, helper, "erase", `${key}\n`, o.signal);
    if (code === 0) out.push(`credential helper ${helper}`);
  }
  const auths = tableAt(file.doc, "auths", file.path);
  const known = dockerKeys(host).filter((key) => Object.hasOwn(auths, key));
  if (known.length === 0) return out;
  for (const key of known) delete auths[key];
  await writeConfig(file.path, file.doc);
  if (helper === undefined) out.push(file.path);
  return out;
}

function helperOf(doc: Table, host: string): string | undefined {
  const helpers = doc["credHelpers"];
  if (typeof helpers === "object" && helpers !== null)
    for (const key of dockerKeys(host)) {
      const name = (helpers as Table)[key];
      if (typeof name === "string" && name !== "") return name;
    }
  const store = doc["credsStore"];
  return typeof store === "string" && store !== "" ? store : undefined;
}

async function readConfig(o: DockerConfigOptions): Promise<{ path: string; doc: Table }> {
  const named = o.path ?? dockerConfigPath();
  // A link stays a link: what it names is written.
  const path = await realpath(named).catch(() => named);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (err) {
    if (err instanceof Error && "code" in err && err.code === "ENOENT") return { path, doc: {} };
    throw failedPrecondition(`read "${path}": ${err instanceof Error ? err.message : ""}`, { cause: err });
  }
  let doc: unknown;
  try {
    doc = text.trim() === "" ? {} : JSON.parse(text);
  } catch {
    doc = undefined;
  }
  if (typeof doc !== "object" || doc === null || Array.isArray(doc))
    throw invalidArgument(`read "${path}": not a Docker client configuration`, {
      hint: "it is left as it is: mend or move the file, or name another folder in DOCKER_CONFIG",
    });
  return { path, doc: doc as Table };
}

function tableAt(doc: Table, key: string, path: string): Table {
  const value = doc[key] ?? {};
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidArgument(`read "${path}": ${key}: want an object`);
  doc[key] = value;
  return value as Table;
}

/** Replaces the file whole, so that nobody ever reads half of it; readable by its owner alone from the first byte on. */
async function writeConfig(path: string, doc: Table): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const part = `${path}.${crypto.randomUUID()}`;
  try {
    const file = await open(part, "wx", 0o600);
    try {
      await file.writeFile(`${JSON.stringify(doc, null, "\t")}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(part, 0o600);
    await rename(part, path);
  } catch (err) {
    await rm(part, { force: true });
    throw failedPrecondition(`write "${path}": ${err instanceof Error ? err.message : ""}`, { cause: err });
  }
}
