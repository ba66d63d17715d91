/** `start`: makes sure that a server process runs for a container's group, and says where it listens. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { internal } from "../../src/core/errors.ts";
import { listens } from "../../src/platform/net/unix.ts";
import { smallProcessEnv } from "../../src/platform/process/memory.ts";
import { spawnProcess } from "../../src/platform/process/spawn.ts";
import { reExec } from "../../src/platform/runtime.ts";
import { groupOf, socketPath } from "../shared/address.ts";
import type { ShimArgs } from "../shared/args.ts";
import { answerOf, readBootstrap } from "../shared/bootstrap.ts";
import { parseServeAnswer, type ServeAnswer, type ServeMessage } from "../shared/serve-message.ts";
import { TITLE_ROOM } from "../shared/title.ts";
import { parseOptions } from "./options.ts";

/** @returns what to print: the answer in the caller's protocol */
export async function start(args: ShimArgs, stdin: Uint8Array): Promise<Uint8Array> {
  const boot = readBootstrap(stdin, args, process.env);
  const bundle = args.bundle === "" ? process.cwd() : args.bundle;
  const socket = socketPath(
    boot.socketDir,
    boot.grpcAddress,
    boot.namespace,
    groupOf(boot.id, annotations(bundle)),
  );
  const address = `unix://${socket}`;
  if (!(await answers(socket))) {
    const result = await launch({
      namespace: boot.namespace,
      id: boot.id,
      bundle,
      socket,
      ttrpcAddress: boot.ttrpcAddress === "" ? `${boot.grpcAddress}.ttrpc` : boot.ttrpcAddress,
      debug: boot.debug,
      shimCgroup: parseOptions(boot.options).shimCgroup,
    });
    if (result.status === "error") throw internal(`start shim server: ${result.message}`);
  }
  // Daemons of the old protocol find the shim again by this file.
  if (boot.protocol === "old") writeFileSync(join(bundle, "address"), address, { mode: 0o600 });
  return answerOf(boot.protocol, address, Number(process.env["MAX_SHIM_VERSION"] ?? 0));
}

async function answers(socket: string): Promise<boolean> {
  try {
    return listens(socket);
  } catch {
    return false;
  }
}

function annotations(bundle: string): Record<string, unknown> | undefined {
  try {
    const spec = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8")) as {
      annotations?: Record<string, unknown>;
    };
    return spec.annotations;
  } catch {
    return undefined;
  }
}

/** Starts the server process in a session of its own and waits for its answer. */
async function launch(message: ServeMessage): Promise<ServeAnswer> {
  const self = reExec(["shim", "serve"], "containerd-shim-runc-v2");
  const child = spawnProcess(self.command, [...self.args, TITLE_ROOM], {
    stdio: ["pipe", "pipe", "ignore"],
    detached: true,
    cwd: message.bundle,
    env: { ...process.env, ...smallProcessEnv },
    ...(self.argv0 === undefined ? {} : { argv0: self.argv0 }),
  });
  child.stdin?.on("error", () => {});
  child.stdin?.end(`${JSON.stringify(message)}\n`);
  let text = "";
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk);
    if (text.includes("\n")) break;
  }
  child.unref();
  if (text === "") throw internal("start shim server: it ended without an answer");
  return parseServeAnswer(text);
}
