/** exec, attach. */
import { invalidArgument, notFound, unknownError, wrap } from "../../../core/errors.ts";
import { interrupted } from "../../shared/interrupt.ts";
import { OutputUnread } from "../../shared/unread.ts";
import type { Action } from "../command.ts";
import type { CriContext } from "../context.ts";
import { int64, type Options, on, text } from "../options.ts";
import { openStreams, transportName } from "../streaming/open.ts";
import type { Outcome } from "../streaming/outcome.ts";
import { checkTerminal, runSession } from "../streaming/session.ts";
import type { StreamingTls } from "../streaming/upgrade.ts";
import { listContainers } from "./ps.ts";

/** @throws invalid-argument */
export function tlsOf(options: Options): StreamingTls {
  const [ca, cert, key] = [text(options, "tlsCa"), text(options, "tlsCert"), text(options, "tlsKey")];
  if ((ca !== "" || cert !== "" || key !== "") && (cert === "" || key === ""))
    throw invalidArgument(
      "--tls-cert and --tls-key are required for TLS streaming, only --tls-ca is optional",
    );
  return {
    ca,
    cert,
    key,
    servername: text(options, "tlsSni") || text(options, "tlsServerName") || "localhost",
  };
}

const FILTERS = ["name", "pod", "image", "state", "label", "latest", "last"];

export const exec: Action = async (context, args, options) => {
  await using cri = context;
  const filtered = FILTERS.some((name) => options[name] !== undefined);
  const [first = "", ...rest] = args;
  const command = filtered ? args : rest;
  if (command.length === 0)
    throw invalidArgument("no command is given", { hint: "crictl exec -it CONTAINER-ID sh" });
  let ids = [first];
  if (filtered) {
    ids = (await listContainers(cri, options)).map((c) => c.id);
    if (ids.length === 0)
      throw notFound("no containers found per filter flags", { hint: "crictl ps -a lists all" });
  }
  const ignore = on(options, "ignoreErrors");
  const one = async (id: string): Promise<number> => {
    try {
      return on(options, "sync")
        ? await execSync(cri, id, command, options)
        : await execStream(cri, id, command, options);
    } catch (err) {
      if (err instanceof OutputUnread) throw err;
      if (ignore) return 0;
      throw wrap(err, `execing command in container ${id}`);
    }
  };
  if (on(options, "parallel")) {
    const ends = await Promise.allSettled(ids.map(one));
    const failed = ends.find((end) => end.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    return ends.map((end) => (end.status === "fulfilled" ? end.value : 1)).find((code) => code !== 0) ?? 0;
  }
  let result = 0;
  for (const id of ids) {
    if (filtered && !on(options, "quiet")) process.stdout.write(`${id}:\n`);
    const code = await one(id);
    if (result === 0) result = code;
  }
  return ignore ? 0 : result;
};

async function execSync(
  cri: CriContext,
  id: string,
  cmd: readonly string[],
  options: Options,
): Promise<number> {
  const timeout = int64(options, "timeout", "--timeout");
  const limit = timeout > 0n ? cri.options(1, Number(timeout) * 1_000) : cri.options(0);
  const answer = await (await cri.runtime()).execSync({ containerId: id, cmd: [...cmd], timeout }, limit);
  process.stdout.write(answer.stdout);
  process.stderr.write(answer.stderr);
  return answer.exitCode === 0 ? 0 : said(id, { code: answer.exitCode, message: "" }, options);
}

async function execStream(
  cri: CriContext,
  id: string,
  cmd: readonly string[],
  options: Options,
): Promise<number> {
  const [tty, stdin] = [on(options, "tty"), on(options, "interactive")];
  checkTerminal({ tty, stdin });
  const kinds = { stdin, stdout: true, stderr: !tty, tty };
  const transport = transportName(text(options, "transport"));
  const tls = tlsOf(options);
  const { url } = await (await cri.runtime()).exec(
    { containerId: id, cmd: [...cmd], ...kinds },
    cri.options(),
  );
  cri.debug(() => `exec url: ${withoutToken(url)}`);
  const streams = await openStreams(url, transport, kinds, tls);
  const outcome = await runSession(streams, { stdin, tty, signal: interrupted() });
  return outcome.code === 0 ? 0 : said(id, outcome, options);
}

/** What shells give for a program that SIGINT ended. */
const INTERRUPTED = 130;

/** Says that a command failed. @returns its exit code @throws when it did not run to its end */
function said(id: string, outcome: Outcome, options: Options): number {
  if (outcome.code === undefined) {
    if (interrupted().aborted) return INTERRUPTED;
    throw unknownError(outcome.message);
  }
  if (!on(options, "ignoreErrors"))
    process.stderr.write(
      `crictl: execing command in container ${id}: command terminated with exit code ${outcome.code}\n`,
    );
  return outcome.code;
}

/** A URL is a secret while its token is valid. */
export function withoutToken(url: string): string {
  return url.replace(/\/[^/]*$/, "/...");
}

export const attach: Action = async (context, args, options) => {
  await using cri = context;
  const [id = "", ...more] = args;
  if (id === "" || more.length > 0)
    throw invalidArgument("ID cannot be empty", { hint: "crictl attach -it CONTAINER-ID" });
  const [tty, stdin] = [on(options, "tty"), on(options, "stdin")];
  checkTerminal({ tty, stdin });
  const kinds = { stdin, stdout: true, stderr: !tty, tty };
  const transport = transportName(text(options, "transport"));
  const tls = tlsOf(options);
  try {
    const { url } = await (await cri.runtime()).attach({ containerId: id, ...kinds }, cri.options());
    cri.debug(() => `attach url: ${withoutToken(url)}`);
    const streams = await openStreams(url, transport, kinds, tls);
    const outcome = await runSession(streams, { stdin, tty, signal: interrupted() });
    if (outcome.code === 0) return 0;
    if (interrupted().aborted) return INTERRUPTED;
    throw unknownError(outcome.message);
  } catch (err) {
    if (err instanceof OutputUnread) throw err;
    throw wrap(err, `attaching running container ${id} failed`);
  }
};
