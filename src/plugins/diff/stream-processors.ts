/**
 * Programs between a blob and the unpacking (`stream_processors` of the config file), e.g. for encrypted layers. They run
 * outside of every root and before any byte reaches the unpack helper; protocol as containerd's: bytes on stdin and
 * stdout, the media type in the environment, the client's payload on descriptor 3.
 */
import { Buffer } from "node:buffer";
import type { AnyValue } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, internal, invalidArgument } from "../../core/errors.ts";
import { type ChildHandle, spawnProcess } from "../../platform/process/spawn.ts";
import { close, open, pipe2, write } from "../../platform/syscalls/files.ts";

/** One configured program. */
export interface StreamProcessor {
  readonly id: string;
  readonly accepts: readonly string[];
  /** Media type of what it writes. */
  readonly returns: string;
  readonly path: string;
  readonly args: readonly string[];
  /** `KEY=value`, added to the daemon's environment. */
  readonly env: readonly string[];
}

/** Programs in a row are a mistake in the config beyond this. */
const MAX_CHAIN = 8;
const O_RDONLY_CLOEXEC = 0o2000000;
/** Pipes hold this much; a payload that does not fit would block us. */
const MAX_PAYLOAD = 60 * 1024;
const SIGKILL = 9;

/** The table `stream_processors`. @throws invalid-argument naming the key */
export function parseStreamProcessors(table: unknown): StreamProcessor[] {
  if (table === undefined) return [];
  if (typeof table !== "object" || table === null)
    throw invalidArgument('config key "stream_processors": must be a table');
  return Object.entries(table).map(([id, entry]) => {
    const value = (typeof entry === "object" && entry !== null ? entry : {}) as Record<string, unknown>;
    const list = (key: string): string[] => {
      const items = value[key] ?? [];
      if (Array.isArray(items) && items.every((item) => typeof item === "string")) return items as string[];
      throw invalidArgument(`config key "stream_processors.${id}.${key}": must be a list of strings`);
    };
    const text = (key: string): string => {
      const item = value[key];
      if (typeof item === "string" && item !== "") return item;
      throw invalidArgument(`config key "stream_processors.${id}.${key}": must be a string`);
    };
    return {
      id,
      accepts: list("accepts"),
      returns: text("returns"),
      path: text("path"),
      args: list("args"),
      env: list("env"),
    };
  });
}

/** The programs for a layer of `mediaType` until `known` accepts the type; undefined when none are needed or none fit. */
export function chainFor(
  processors: readonly StreamProcessor[],
  mediaType: string,
  known: (mediaType: string) => boolean,
): StreamProcessor[] | undefined {
  const chain: StreamProcessor[] = [];
  let type = mediaType;
  while (!known(type)) {
    const next = processors.find((processor) => processor.accepts.includes(type));
    if (next === undefined) return undefined;
    chain.push(next);
    if (chain.length > MAX_CHAIN)
      throw failedPrecondition(`unpack layer: stream processors for "${mediaType}" never end`);
    type = next.returns;
  }
  return chain.length === 0 ? undefined : chain;
}

/**
 * Runs the chain over a blob's file and gives its output.
 * @throws internal with what a failing program said
 */
export async function* runChain(
  call: NamespacedCall,
  chain: readonly StreamProcessor[],
  blobPath: string,
  mediaType: string,
  payloads: ReadonlyMap<string, AnyValue> | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  const running: { child: ChildHandle; id: string; said: string }[] = [];
  const kill = (): void => {
    // The whole group: a script's own children would go on reading keys and writing to nobody.
    for (const { child } of running) child.killGroup(SIGKILL);
  };
  call.signal.addEventListener("abort", kill, { once: true });
  try {
    let type = mediaType;
    for (const processor of chain) {
      const previous = running.at(-1)?.child;
      const child = startProcessor(
        processor,
        previous === undefined ? blobPath : undefined,
        type,
        payloads?.get(processor.id),
      );
      const entry = { child, id: processor.id, said: "" };
      running.push(entry);
      child.stderr?.on("data", (data: Buffer) => {
        if (entry.said.length < 4096) entry.said += data.toString("utf8");
      });
      child.stdin?.on("error", () => {}); // one that stops reading is told by its exit
      if (child.stdin !== undefined) previous?.stdout?.pipe(child.stdin);
      type = processor.returns;
    }
    yield* (running.at(-1)?.child.stdout ?? []) as AsyncIterable<Uint8Array>;
    for (const entry of running) {
      const { code, signal } = await entry.child.exited;
      call.check();
      if (code !== 0)
        throw internal(
          `stream processor "${entry.id}" ended with ${signal ?? `code ${code}`}: ${entry.said.trim()}`,
        );
    }
  } finally {
    call.signal.removeEventListener("abort", kill);
    kill();
  }
}

function startProcessor(
  processor: StreamProcessor,
  blobPath: string | undefined,
  mediaType: string,
  payload: AnyValue | undefined,
): ChildHandle {
  const env: Record<string, string | undefined> = { ...process.env };
  for (const pair of processor.env) {
    const at = pair.indexOf("=");
    if (at > 0) env[pair.slice(0, at)] = pair.slice(at + 1);
  }
  env["STREAM_PROCESSOR_MEDIATYPE"] = mediaType;
  const ours: number[] = [];
  try {
    const stdin = blobPath === undefined ? ("pipe" as const) : open(blobPath, O_RDONLY_CLOEXEC);
    if (typeof stdin === "number") ours.push(stdin);
    const extra: number[] = [];
    if (payload !== undefined) {
      const pipe = pipe2();
      ours.push(pipe.read);
      extra.push(pipe.read);
      try {
        const bytes = encodeAny(payload);
        if (bytes.length > MAX_PAYLOAD)
          throw invalidArgument(`payload of stream processor "${processor.id}": too long`);
        write(pipe.write, bytes);
      } finally {
        close(pipe.write);
      }
    }
    return spawnProcess(processor.path, processor.args, {
      stdio: [stdin, "pipe", "pipe", ...extra],
      env,
      detached: true,
    });
  } catch (err) {
    throw internal(`start stream processor "${processor.id}"`, { cause: err });
  } finally {
    for (const fd of ours) close(fd);
  }
}

/** google.protobuf.Any: type_url is field 1, value field 2. */
function encodeAny({ typeUrl, value }: AnyValue): Uint8Array {
  const url = Buffer.from(typeUrl, "utf8");
  return Buffer.concat([
    Uint8Array.of(0x0a),
    varint(url.length),
    url,
    Uint8Array.of(0x12),
    varint(value.length),
    value,
  ]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}
