/** `containerd publish`: shims of other makers call it to hand an event over; the payload is a protobuf Any on stdin. */
import { fromBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { eventsClient } from "../../client/events.ts";
import { Call } from "../../core/call.ts";
import { invalidArgument } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import type { DaemonFlags } from "./flags.ts";

/** Largest event accepted on stdin. Bytes. */
const MAX_EVENT = 16 << 20;
/** Longest time the publication may take. */
const TIMEOUT_MS = 5_000;

/** @returns the exit code */
export async function publish(flags: DaemonFlags, args: readonly string[]): Promise<number> {
  const value = (name: string): string => {
    const at = args.findIndex((a) => a === `--${name}` || a === `-${name}`);
    const joined = args.find((a) => a.startsWith(`--${name}=`));
    const found = at >= 0 ? args[at + 1] : joined?.slice(name.length + 3);
    if (found === undefined || found === "")
      throw invalidArgument(`flag --${name} is required`, {
        hint: "usage: containerd --address SOCK publish --namespace NS --topic /T",
      });
    return found;
  };
  const topic = value("topic");
  const call = new Call({ namespace: parseNamespace(value("namespace")) }).namespaced().within(TIMEOUT_MS);
  const event = fromBinary(AnySchema, await readStdin());
  await using transport = createGrpcTransport({ path: flags.address ?? "/run/containerd/containerd.sock" });
  await eventsClient(transport).publish(call, topic, { typeUrl: event.typeUrl, value: event.value });
  return 0;
}

async function readStdin(): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of process.stdin) {
    parts.push(part as Buffer);
    size += (part as Buffer).length;
    if (size > MAX_EVENT) throw invalidArgument(`event larger than ${MAX_EVENT} bytes`);
  }
  return Buffer.concat(parts);
}
