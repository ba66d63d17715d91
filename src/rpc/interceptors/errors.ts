import { codeOf, GantryError, internal, messageOf, wrap } from "../../core/errors.ts";
import type { Interceptor } from "../types.ts";

/**
 * Gives every error that leaves a handler one of our classes, so the transport maps it by the status table. Errors
 * that are not ours are programming or system errors: they are logged with their stack and answered as `unknown`
 * with their text, as containerd does; a broken invariant of the language (TypeError, RangeError) as `internal`.
 */
export const errorInterceptor: Interceptor = async (_method, context, next) => {
  try {
    await next();
  } catch (err) {
    if (err instanceof GantryError) throw err;
    const code = codeOf(err);
    if (code === "canceled" || code === "deadline-exceeded") throw wrap(err, context.method);
    context.call.log.error("handler failed", { method: context.method, err });
    if (err instanceof TypeError || err instanceof RangeError) throw internal(messageOf(err), { cause: err });
    throw err;
  }
};
