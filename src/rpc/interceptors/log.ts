import { isCanceled, isDeadlineExceeded } from "../../core/errors.ts";
import { grpcCodeName, toStatus } from "../status.ts";
import type { Interceptor } from "../types.ts";

/** Codes that are the server's fault or the machine's: logged as warnings, the rest at debug. */
const SERIOUS: ReadonlySet<string> = new Set(["Unknown", "Internal", "DataLoss"]);

/** Writes one line per call when it ends: method, code, milliseconds, namespace. */
export const logInterceptor: Interceptor = async (_method, context, next) => {
  const start = performance.now();
  const { log, namespace } = context.call;
  const fields = (): Record<string, unknown> => ({
    method: context.method,
    ms: Math.round((performance.now() - start) * 10) / 10,
    ...(namespace === undefined ? {} : { namespace }),
  });
  try {
    await next();
    log.debug("call done", { ...fields(), code: "OK" });
  } catch (err) {
    const status = toStatus(err);
    const code = grpcCodeName(status.code);
    const line = { ...fields(), code, error: status.message };
    if (SERIOUS.has(code) && !isCanceled(err) && !isDeadlineExceeded(err)) log.warn("call failed", line);
    else log.debug("call failed", line);
    throw err;
  }
};
