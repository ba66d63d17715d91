/** What the engine's own commands (`gantry check`, `system`, `gc`) share: flags, connection, output. */
import { parseArgs } from "node:util";
import { Call } from "../../core/call.ts";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import type { Transport } from "../../rpc/types.ts";
import { renderTable, toJson } from "../ctr/table.ts";
import { report } from "../engine/report.ts";

/** Parsed arguments of one command. */
export interface Arguments {
  readonly positionals: readonly string[];
  readonly address: string;
  /** "" = every namespace. */
  readonly namespace: string;
  readonly json: boolean;
  readonly repair: boolean;
  readonly quick: boolean;
}

/** A command: its help and what it does. Resolves with the exit code. */
export interface OwnCommand {
  readonly usage: string;
  run(args: Arguments, transport: Transport, call: Call): Promise<number>;
}

/** Lines about the flags that every command has. */
export const commonFlags = `  -a, --address PATH     socket of the daemon (default /run/containerd/containerd.sock, or CONTAINERD_ADDRESS)
  -n, --namespace NAME   only this namespace (default: all of them)
  -o, --output FORMAT    "table" or "json"
  -h, --help             this text
`;

/** Runs a command with its arguments. */
export async function runCommand(command: OwnCommand, args: string[]): Promise<number> {
  let transport: Transport | undefined;
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    const parsed = parse(args);
    if (parsed === undefined) {
      process.stdout.write(command.usage);
      return 0;
    }
    transport = createGrpcTransport({ path: parsed.address });
    return await command.run(parsed, transport, new Call({ signal: interrupt.signal }));
  } catch (err) {
    return report(err);
  } finally {
    await transport?.close();
  }
}

/** Writes rows under headers, or the value as JSON. */
export function show(
  json: boolean,
  value: unknown,
  headers: readonly string[],
  rows: readonly (readonly string[])[],
): void {
  process.stdout.write(json ? toJson(value, 2) : renderTable(headers, rows, 2).replace(/ +$/gm, ""));
}

/** The first sentence of what the parser says; the others speak of its own options. */
export function flagError(err: unknown): Error {
  const said = messageOf(err).split(". ", 1)[0] ?? "";
  return invalidArgument(said.charAt(0).toLowerCase() + said.slice(1), { hint: "add --help for the usage" });
}

function parse(args: string[]): Arguments | undefined {
  let found: ReturnType<typeof parseFlags>;
  try {
    found = parseFlags(args);
  } catch (err) {
    throw flagError(err);
  }
  const { values, positionals } = found;
  if (values.help === true) return undefined;
  if (values.output !== "table" && values.output !== "json")
    throw invalidArgument(`output format "${values.output}": want "table" or "json"`);
  const address = values.address ?? (process.env["CONTAINERD_ADDRESS"] || "/run/containerd/containerd.sock");
  return {
    positionals,
    address: address.replace(/^unix:\/\//, ""),
    namespace: values.namespace,
    json: values.output === "json",
    repair: values.repair,
    quick: values.quick,
  };
}

function parseFlags(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      address: { type: "string", short: "a" },
      namespace: { type: "string", short: "n", default: "" },
      output: { type: "string", short: "o", default: "table" },
      repair: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
}
