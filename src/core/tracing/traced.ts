import type { Call } from "../call.ts";
import { messageOf } from "../errors.ts";
import type { Attributes } from "./span.ts";

/**
 * Runs `work` in a span below the call's; without one, just runs it.
 * @param name what is done, the same for every object: objects go into the attributes
 */
export async function traced<C extends Call, T>(
  call: C,
  name: string,
  work: (call: C) => Promise<T>,
  attributes?: Attributes,
): Promise<T> {
  const span = call.span?.child(name, "internal", attributes);
  if (span === undefined) return await work(call);
  try {
    const result = await work(call.with({ span }) as C);
    span.end();
    return result;
  } catch (err) {
    span.end(messageOf(err) || "failed");
    throw err;
  }
}
