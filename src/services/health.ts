import { Health, HealthCheckResponse_ServingStatus as Serving } from "../api/gen/grpc/health/v1/health_pb.ts";
import { notFound } from "../core/errors.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Health service. `ready` tells whether every plugin that must run runs. */
export function healthService(ready: () => boolean): ServiceBinding {
  const status = (): { status: Serving } => ({ status: ready() ? Serving.SERVING : Serving.NOT_SERVING });
  return bindService(Health, {
    check(request) {
      if (request.service !== "") throw notFound("unknown service");
      return status();
    },
    list: () => ({ statuses: { "": status() } }),
    async *watch(_request, context) {
      let last: Serving | undefined;
      while (!context.call.signal.aborted) {
        const now = status();
        if (now.status !== last) yield now;
        last = now.status;
        await pause(1_000, context.call.signal);
      }
    },
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
