/** registry login, logout, check. */

import { codeOf, invalidArgument, unauthenticated } from "../../../core/errors.ts";
import { DEFAULT_HOST, parseReference } from "../../../oci/reference.ts";
import { runHelper } from "../../../plugins/transfer/credential-helper.ts";
import type { HostCheck } from "../../../registry/check.ts";
import { eraseLogin, storeLogin } from "../../../registry/docker-config.ts";
import { Registry } from "../../../registry/registry.ts";
import type { Credentials } from "../../../registry/types.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { need, textOf } from "../context.ts";
import { askLine, askPassword } from "../password.ts";
import { registryOptions } from "../registry-options.ts";

/** Longest secret taken from stdin, in bytes. */
const MAX_SECRET = 64 * 1024;

export const login: Action = async (context, args, options) => {
  const host = hostOf(args[0] ?? DEFAULT_HOST);
  const token = options["identityToken"] === true;
  const username = token ? "" : textOf(options, "username") || (await askLine("Username: "));
  if (!token && username === "") throw invalidArgument("username required", { hint: "use --username NAME" });
  const secret = await secretOf(options, token);
  if (secret === "") throw invalidArgument("password required: an empty one was given");
  const credentials: Credentials = token
    ? { kind: "refresh", token: secret }
    : { kind: "basic", username, password: secret };
  const { signal } = context.call();
  let asked = false;
  const reference = `${host}/login`;
  await using registry = new Registry({
    ...(await registryOptions(options, reference)),
    // Only what was just given is tried: an old login must not pass for the new one.
    dockerConfig: false,
    credentials: async () => {
      asked = true;
      return credentials;
    },
  });
  await (await registry.session(reference)).ping(signal).catch((err: unknown) => {
    if (codeOf(err) !== "unauthenticated" && codeOf(err) !== "permission-denied") throw err;
    throw unauthenticated(
      `log in to ${host}: the registry refuses this ${token ? "token" : "name or password"}`,
      {
        cause: err,
      },
    );
  });
  if (!asked) toStderr(`ctr: ${host} asks for no password: this one was not checked\n`);
  const where = await storeLogin(host, { username, secret }, { runHelper, signal });
  toStdout(`Login Succeeded: kept in ${where}\n`);
  return 0;
};

export const logout: Action = async (context, args) => {
  const host = hostOf(args[0] ?? DEFAULT_HOST);
  const where = await eraseLogin(host, { runHelper, signal: context.call().signal });
  toStdout(
    where.length === 0
      ? `Not logged in to ${host}\n`
      : `Removed the login for ${host} from ${where.join(", ")}\n`,
  );
  return 0;
};

/** A host, also when it is written as a URL or with a path behind it. @throws invalid-argument */
function hostOf(text: string): string {
  const plain = text.replace(/^https?:\/\//, "").replace(/\/.*$/s, "");
  return parseReference(`${plain}/login`).host;
}

async function secretOf(options: Readonly<Record<string, unknown>>, token: boolean): Promise<string> {
  const given = textOf(options, "password");
  const fromStdin = options["passwordStdin"] === true;
  if (given !== "" && fromStdin)
    throw invalidArgument("flags --password and --password-stdin: give one of them");
  if (given !== "") {
    toStderr(
      "ctr: --password shows the password to other users of this machine: --password-stdin does not\n",
    );
    return given;
  }
  if (!fromStdin) return askPassword(token ? "Identity token: " : "Password: ", "use --password-stdin");
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of process.stdin as AsyncIterable<Uint8Array>) {
    size += part.byteLength;
    if (size > MAX_SECRET) throw invalidArgument(`password: longer than ${MAX_SECRET} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts)
    .toString("utf8")
    .replace(/\r?\n$/, "");
}

export const check: Action = async (context, args, options) => {
  const given = need(args, 0, "image reference or registry host");
  // A host alone: its API root is asked.
  const reference = given.includes("/") ? given : `${given}/check`;
  const format = textOf(options, "output");
  if (format !== "" && format !== "json") throw invalidArgument(`flag --output "${format}": use json`);
  await using registry = new Registry(await registryOptions(options, reference));
  const hosts = await (await registry.session(reference)).check(context.call().signal);
  const ok = hosts.some((h) => h.ok && h.capabilities.includes("resolve"));
  if (format === "json") toStdout(`${JSON.stringify({ reference: given, ok, hosts }, null, 2)}\n`);
  else toStdout(report(given, hosts));
  return ok ? 0 : 1;
};

function report(reference: string, hosts: readonly HostCheck[]): string {
  const lines = [
    `${reference}: ${hosts.length === 1 ? "one host is" : `${hosts.length} hosts are`} asked, in this order`,
  ];
  hosts.forEach((h, i) => {
    lines.push(`${i + 1}. ${h.host}${h.mirror ? " (mirror)" : ""}`);
    const row = (name: string, text: string): void => {
      lines.push(`   ${name.padEnd(13)}${text}`);
    };
    row("named by", h.from);
    row("may", h.capabilities.join(", ") || "nothing");
    row("tls", h.tls);
    row("credentials", h.credentials);
    row("answer", `${h.ok ? "ok" : "failed"}: ${h.answer} (${h.ms} ms)`);
    if (h.hint !== undefined) row("hint", h.hint);
  });
  const first = hosts.find((h) => h.ok && h.capabilities.includes("resolve"));
  lines.push(first === undefined ? "nothing works" : `a pull would resolve at ${first.host}`);
  return `${lines.join("\n")}\n`;
}
