/** Events of a daemon as they come, by containerd's own client. */
import type { Running } from "./client.ts";
import { until } from "./client.ts";
import type { ClientKind, Engine } from "./engine.ts";

/** One event. */
export interface Seen {
  readonly topic: string;
  /** The event's own fields. */
  readonly body: Readonly<Record<string, unknown>>;
  /** When this process read it, milliseconds. */
  readonly at: number;
}

/** Watches until stopped. */
export interface Watch {
  /** Of one container, in the order they came. */
  of(id: string): Seen[];
  stop(): Promise<void>;
}

/** Starts to watch; resolves when the subscription is there. */
export async function watchEvents(engine: Engine, client: ClientKind = "1.6"): Promise<Watch> {
  const ctr = engine.client(client);
  const running: Running = ctr.start(["events"], { timeout: 300_000 });
  const mark = engine.id("watch").replace("watch-", "w");
  // a subscription has no answer: it is there when an event comes through
  await until("the subscription", async () => {
    await ctr.ok("namespaces", "create", mark);
    await ctr.ok("namespaces", "rm", mark);
    return running.out().includes(mark);
  });
  return {
    of: (id) =>
      running
        .out()
        .split("\n")
        .filter((line) => line.includes(`"${id}"`))
        .map((line) => {
          const found = line.match(/ (\/\S+) (\{.*\})/);
          const body = JSON.parse(found?.[2] ?? "{}") as Record<string, unknown>;
          return { topic: found?.[1] ?? line, body, at: performance.now() };
        }),
    async stop() {
      running.kill("SIGKILL");
      await running.done;
    },
  };
}
