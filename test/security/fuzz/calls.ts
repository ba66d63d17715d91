/** Calls with fuzzed messages, and what of their answers is a defect. */
import type { DescMessage, DescMethod, DescService, MessageInitShape } from "@bufbuild/protobuf";
import { codeOf, type ErrorCode, messageOf } from "../../../src/core/errors.ts";
import { EncodedMessage, type Transport } from "../../../src/rpc/types.ts";
import { fuzzMessage, type Pool } from "./messages.ts";
import type { Random } from "./random.ts";

/** How a call ended. */
export interface Outcome {
  readonly method: string;
  /** "ok", or the class of the error. */
  readonly code: ErrorCode | "ok";
  readonly message: string;
  readonly ms: number;
}

/** Texts that only JavaScript, a stack or a careless template say. */
const SCRIPT =
  /undefined|is not a function|is not an object|is not iterable|is not a constructor|cannot read|null is not|typeerror|rangeerror|syntaxerror|referenceerror|assertion failed|call stack|out of memory|\bat [\w.<>]+ \(|\[object |: NaN\b|\.ts:\d|bunfs|invalid (array|typed|string) length|BigInt|ERR_[A-Z]|SQLITE|constraint failed|the "\w+" argument|must be of type/i;

/** Whether an error is one that no client should see: a fault of the program in the clothes of an answer. */
export function isDefect(outcome: Outcome): boolean {
  // zod says so of what is missing; what the client sent is quoted, and may be such a text itself
  const own = outcome.message.replaceAll("received undefined", "").replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
  return outcome.code !== "ok" && SCRIPT.test(own);
}

/** One call of a method with fuzzed requests. Never rejects. */
export async function fuzzCall(
  transport: Transport,
  service: DescService,
  method: DescMethod,
  random: Random,
  pool: Pool,
  options: { readonly timeoutMs: number; readonly headers?: ReadonlyMap<string, readonly string[]> },
): Promise<Outcome> {
  const message = (): MessageInitShape<DescMessage> =>
    new EncodedMessage([fuzzMessage(random, method.input, pool)]) as unknown as MessageInitShape<DescMessage>;
  const name = `${service.typeName.split(".").at(-1)}.${method.name}`;
  const begun = performance.now();
  let code: Outcome["code"] = "ok";
  let text = "";
  try {
    if (method.methodKind === "unary") await transport.unary(method, message(), options);
    else {
      const requests = Array.from(
        { length: method.methodKind === "server_streaming" ? 1 : 1 + random.below(4) },
        message,
      );
      let left = 200;
      for await (const _answer of transport.stream(method, each(requests), options)) if (--left === 0) break;
    }
  } catch (err) {
    code = codeOf(err);
    text = messageOf(err);
  }
  return { method: name, code, message: text, ms: performance.now() - begun };
}

async function* each<T>(list: readonly T[]): AsyncGenerator<T, void, undefined> {
  yield* list;
}
