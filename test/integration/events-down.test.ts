/** R14: what happens while the daemon is down is told once when it is up again, in order. Our daemon; needs root and runc. */
import assert from "node:assert/strict";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "./client.ts";
import { useBed } from "./suite.ts";
import { alive, parentOf, taskRow } from "./tasks.ts";
import { watchEvents } from "./watch.ts";

const holder = useBed("ours", "ours");

test("out of memory, the end of an exec and the end of the container: once each, not again after the next restart", () =>
  holder.check(
    async ({ ctr, engine, image }) => {
      const id = engine.id("oom");
      const script = "while [ ! -e /go ]; do sleep 0.05; done; exec tail /dev/zero";
      await ctr.ok("run", "-d", "--memory-limit", "16777216", image, id, "sh", "-c", script);
      await ctr.ok("tasks", "exec", "-d", "--exec-id", "beside", id, "sleep", "1000");
      const { pid } = await taskRow(ctr, id);
      const shim = parentOf(pid);
      const before = await watchEvents(engine);
      await engine.end("SIGKILL");
      await before.stop();
      writeFileSync(`/proc/${pid}/root/go`, "");
      await until("the end", () => !alive(pid));
      // the shim must not be quicker than the one who listens
      process.kill(shim, "SIGSTOP");
      await engine.start();
      const events = await watchEvents(engine);
      process.kill(shim, "SIGCONT");
      await until("the exit", () => exits(events, id).length === 2);
      const topics = events.of(id).map((e) => e.topic);
      assert.equal(topics.filter((t) => t === "/tasks/oom").length, 1, topics.join(" "));
      assert.ok(topics.indexOf("/tasks/oom") < topics.indexOf("/tasks/exit"), topics.join(" "));
      assert.deepEqual(
        exits(events, id).map((e) => e.body["id"]),
        ["beside", id],
      );
      await events.stop();
      // what the daemon has taken the shim forgets when it has read so
      const outbox = join(engine.state, "io.containerd.runtime.v2.task", engine.namespace, id, "outbox");
      await until("the acknowledgement", () => !existsSync(outbox) || statSync(outbox).size === 0);
      process.kill(shim, "SIGSTOP");
      await engine.end("SIGKILL");
      await engine.start();
      const later = await watchEvents(engine);
      process.kill(shim, "SIGCONT");
      await ctr.ok("tasks", "rm", "-f", id);
      await until("the removal", () => later.of(id).some((e) => e.topic === "/tasks/delete"));
      assert.deepEqual(
        later.of(id).map((e) => e.topic),
        ["/tasks/delete"],
      );
      await later.stop();
      await ctr.ok("containers", "rm", id);
    },
    ["open files of the daemon", "fifos"],
  ));

const exits = (events: Awaited<ReturnType<typeof watchEvents>>, id: string) =>
  events.of(id).filter((e) => e.topic === "/tasks/exit");
