/** The HTTP faces of the daemon, all read-only: metrics, health, status, events; and on the debug socket profiles. */
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import type { Call } from "../../core/call.ts";
import type { EventExchange } from "../../core/events/events.ts";
import type { MetricRegistry } from "../../core/metrics/metrics.ts";
import type { RpcMetrics } from "../../rpc/interceptors/metrics.ts";
import { page } from "./page.ts";
import { renderMetrics } from "./prometheus.ts";
import { type StatusSources, statusReader } from "./status.ts";

/** What the app reads. */
export interface HttpSources extends StatusSources {
  readonly call: Call;
  readonly events: EventExchange;
  readonly metrics: MetricRegistry;
  readonly rpc: RpcMetrics;
  readonly histogram: boolean;
}

/** Longest time one answer may take. Milliseconds. */
const ANSWER_MS = 15_000;
/** Event streams at once: each holds a subscription. */
const MAX_STREAMS = 16;

/** Routes of the metrics address. */
export function httpApp(from: HttpSources): Hono {
  const app = new Hono();
  const status = statusReader(from);
  let streams = 0;
  app.use("*", async (c, next) => {
    await next();
    // the page shows what runs here: no other site may frame or read it, and it loads nothing from elsewhere
    c.header("x-content-type-options", "nosniff");
    c.header("x-frame-options", "DENY");
    c.header("content-security-policy", "default-src 'self'; style-src 'unsafe-inline'; script-src 'self'");
    c.header("cache-control", "no-store");
  });
  app.get("/v1/metrics", async (c) => {
    const families = await from.metrics.families((err) => from.call.log.warn("collect metrics", { err }));
    return c.text(renderMetrics(from.rpc, from.histogram, from.daemon, families), 200, {
      "content-type": "text/plain; version=0.0.4; charset=utf-8",
    });
  });
  app.get("/healthz", (c) => c.text("ok\n"));
  app.get("/readyz", async (c) => {
    const failed = (await from.introspection.plugins(from.call, [])).filter((p) => p.state === "error");
    const lines = failed.map(
      (p) => `${p.type}.${p.id}: ${p.error instanceof Error ? p.error.message : ""}\n`,
    );
    return c.text(failed.length === 0 ? "ok\n" : lines.join(""), failed.length === 0 ? 200 : 503);
  });
  app.get("/status.json", async (c) => c.json(await status(from.call.within(ANSWER_MS))));
  app.get("/", (c) => c.html(page.html));
  app.get("/page.js", (c) => c.body(page.script, 200, { "content-type": "text/javascript; charset=utf-8" }));
  app.get("/events", (c) => {
    if (streams >= MAX_STREAMS) return c.text("too many event streams are open\n", 503);
    return streamSSE(c, async (stream) => {
      streams++;
      const ended = new AbortController();
      stream.onAbort(() => ended.abort());
      try {
        for await (const e of from.events.subscribe(from.call.until(ended.signal), [])) {
          const data = { at: String(e.timestamp), namespace: e.namespace, topic: e.topic };
          await stream.writeSSE({ data: JSON.stringify(data) });
        }
      } catch (err) {
        if (!ended.signal.aborted) from.call.log.debug("event stream of the status page ended", { err });
      } finally {
        streams--;
      }
    });
  });
  return app;
}
