/** Containers: run, exec, signals, terminals, events. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { shell, until } from "../client.ts";
import type { Bed, Scenario } from "../suite.ts";
import { cgroupsOf } from "../traces.ts";

/** Starts a container in the background. @returns its id */
export async function detached(
  { ctr, engine, image }: Bed,
  name: string,
  ...command: string[]
): Promise<string> {
  const id = engine.id(name);
  await ctr.ok("run", "-d", image, id, ...command);
  await until(`task ${id} to run`, async () => (await status(ctr, id)) === "RUNNING");
  return id;
}

/** STATUS column of a task; "" when there is none. */
export async function status(ctr: Bed["ctr"], id: string): Promise<string> {
  const row = (await ctr.ok("tasks", "ls")).split("\n").find((line) => line.startsWith(`${id} `)) ?? "";
  return row.trim().split(/\s+/)[2] ?? "";
}

/** Removes a stopped task and checks the exit code the client tells. */
export async function exitedWith(ctr: Bed["ctr"], id: string, code: number): Promise<void> {
  const said = await ctr.run("tasks", "rm", id);
  assert.equal(said.code, 0, said.err);
  assert.match(said.err, new RegExp(`task ${id} exit with non-zero exit code ${code}\\b`));
}

/** Ends and removes a container. */
export async function remove(ctr: Bed["ctr"], id: string): Promise<void> {
  await ctr.ok("tasks", "rm", "-f", id);
  await ctr.ok("containers", "rm", id);
}

const exitCodes: Scenario = {
  name: "run --rm: both streams, stdin and the exact exit code",
  async run({ ctr, client, engine, image }) {
    // containerd's clients never tell the shim that the stdin of run ended
    const script = `echo to-out; echo to-err >&2; ${client !== "ours" ? "read x; echo $x" : "cat"}; exit "$1"`;
    for (const code of [0, 1, 42, 255]) {
      const args = ["run", "--rm", image, engine.id("code"), "sh", "-c", script, "sh", String(code)];
      const said = await ctr.start(args, { input: "from-in\n" }).done;
      assert.equal(said.code, code, said.err);
      assert.equal(said.out, "to-out\nfrom-in\n");
      assert.match(said.err, /^to-err\n/);
    }
    const killed = await ctr.run("run", "--rm", image, engine.id("sig"), "sh", "-c", "kill -9 $$; exit 0");
    // process 1 of a namespace is not killed by itself
    assert.equal(killed.code, 0);
    const child = await ctr.run(
      "run",
      "--rm",
      image,
      engine.id("sig"),
      "sh",
      "-c",
      "sh -c 'kill -9 $$'; exit $?",
    );
    assert.equal(child.code, 137);
  },
};

const large: Scenario = {
  name: "run --rm: 8 MiB of output arrive whole",
  async run({ ctr, engine, image }) {
    const id = engine.id("large");
    const said = await ctr.run(
      "run",
      "--rm",
      image,
      id,
      "sh",
      "-c",
      "head -c 8388608 /dev/zero | tr '\\0' x",
    );
    assert.equal(said.out.length, 8_388_608, said.err);
    assert.equal(said.code, 0);
  },
};

const options: Scenario = {
  name: "run: env, cwd, mount, memory limit, label",
  async run({ ctr, engine, image, dir }) {
    const flags = [
      "--rm",
      "--env",
      "FOO=bar baz",
      "--cwd",
      "/tmp",
      "--memory-limit",
      "67108864",
      "--label",
      "x=y",
    ];
    flags.push("--mount", `type=bind,src=${dir},dst=/mnt,options=rbind:ro`);
    const script = 'echo "$FOO"; pwd; grep -c " /mnt " /proc/mounts; touch /mnt/x 2>&1';
    const said = await ctr.run("run", ...flags, image, engine.id("opt"), "sh", "-c", script);
    const lines = said.out.split("\n");
    assert.deepEqual(lines.slice(0, 3), ["bar baz", "/tmp", "1"], said.err);
    assert.match(lines[3] ?? "", /Read-only file system/);
    const limited = engine.id("mem");
    await ctr.ok("run", "-d", "--memory-limit", "67108864", image, limited, "sleep", "1000");
    const limits = cgroupsOf(engine)
      .filter((path) => path.includes(limited))
      .flatMap((path) => ["memory.limit_in_bytes", "memory.max"].map((name) => join(path, name)))
      .filter((path) => existsSync(path))
      .map((path) => readFileSync(path, "utf8").trim());
    assert.deepEqual(limits, ["67108864"]);
    await remove(ctr, limited);
  },
};

const inherited: Scenario = {
  name: "run and exec: a process has its three streams and no other open file",
  async run(bed) {
    const { ctr, engine, image } = bed;
    // 3 is the folder that ls reads
    const list = ["sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"];
    assert.equal(await ctr.ok("run", "--rm", image, engine.id("fds"), ...list), "0 1 2 3 ");
    const id = await detached(bed, "fds", "sleep", "1000");
    assert.equal(await ctr.ok("tasks", "exec", "--exec-id", engine.id("e"), id, ...list), "0 1 2 3 ");
    await remove(ctr, id);
  },
};

const failures: Scenario = {
  name: "run --rm of a program that is not there says so and leaves nothing",
  async run({ ctr, engine, image }) {
    const said = await ctr.run("run", "--rm", image, engine.id("none"), "/no/such/program");
    assert.notEqual(said.code, 0);
    assert.match(said.err, /no such file|not found/);
  },
};

const life: Scenario = {
  name: "run -d, exec, ps, metrics, pause, resume, kill, rm",
  async run(bed) {
    const { ctr, engine, client } = bed;
    // the trap makes process 1 end by TERM
    const id = await detached(bed, "life", "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done");
    const said = await ctr.run(
      "tasks",
      "exec",
      "--exec-id",
      engine.id("e"),
      id,
      "sh",
      "-c",
      "echo in; exit 9",
    );
    assert.equal(said.code, 9, said.err);
    assert.equal(said.out, "in\n");
    const echo = ctr.start(["tasks", "exec", "--exec-id", engine.id("e"), id, "cat"], { input: "through\n" });
    assert.equal((await echo.done).out, "through\n");
    const fail = await ctr.run("tasks", "exec", "--exec-id", engine.id("e"), id, "/no/such");
    assert.notEqual(fail.code, 0);
    assert.match(fail.err, /no such file|not found/);
    assert.match(await ctr.ok("tasks", "ps", id), /^PID +INFO\s*\n\d+ /);
    const metrics = await ctr.ok("tasks", "metrics", id);
    assert.match(metrics, new RegExp(`${id} `));
    assert.match(metrics, /memory\.usage_in_bytes +\d\d+/);
    assert.match(metrics, /pids\.current +[1-4]\b/);
    await ctr.ok("tasks", "pause", id);
    assert.equal(await status(ctr, id), "PAUSED");
    await ctr.ok("tasks", "resume", id);
    assert.equal(await status(ctr, id), "RUNNING");
    assert.match(await ctr.ok("containers", "ls"), new RegExp(`${id} +${bed.image} +\\S+runc[.-]v2`));
    assert.equal(JSON.parse(await ctr.ok("containers", "info", id)).ID, id);
    assert.equal(
      (await ctr.run("containers", "rm", id)).code,
      client === "ours" ? 1 : 1,
      "a running one stays",
    );
    await ctr.ok("tasks", "kill", id);
    await until("the task to stop", async () => (await status(ctr, id)) === "STOPPED");
    await exitedWith(ctr, id, 5);
    await ctr.ok("containers", "rm", id);
  },
};

const signals: Scenario = {
  name: "kill: numbers, names, --all, and a task that is not there",
  async run(bed) {
    const { ctr, engine } = bed;
    for (const [signal, code] of [
      ["SIGKILL", 137],
      ["9", 137],
      ["SIGUSR1", 33],
    ] as const) {
      const id = await detached(bed, "kill", "sh", "-c", "trap 'exit 33' USR1; while :; do sleep 0.05; done");
      await ctr.ok("tasks", "kill", "-s", signal, id);
      await until("the task to stop", async () => (await status(ctr, id)) === "STOPPED");
      await exitedWith(ctr, id, code);
      await ctr.ok("containers", "rm", id);
    }
    const none = await ctr.run("tasks", "kill", engine.id("nobody"));
    assert.equal(none.code, 1);
    assert.match(none.err, /not found/);
  },
};

const attach: Scenario = {
  name: "attach: output of a running task, and its exit code",
  async run(bed) {
    const { ctr } = bed;
    const id = await detached(bed, "att", "sh", "-c", "while :; do echo tick; sleep 0.1; done");
    const running = ctr.start(["tasks", "attach", id], { open: true });
    await running.sees(/tick/);
    await ctr.ok("tasks", "kill", "-s", "SIGKILL", id);
    assert.equal((await running.done).code, 137);
    await ctr.run("tasks", "rm", id);
    await ctr.ok("containers", "rm", id);
  },
};

/** A shell function that waits for a size: the client sets it after the start. */
const WAIT_SIZE =
  'at() { n=0; while [ "$(stty size 2>/dev/null)" != "$1" ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done; stty size; }; ';

const terminal: Scenario = {
  name: "run -t and exec -t: the terminal's size, its change, its exit code",
  async run(bed) {
    const { ctr, engine, image, dir } = bed;
    const id = engine.id("tty");
    const line = ctr.line(
      "run",
      "--rm",
      "-t",
      "--mount",
      `type=bind,src=${dir},dst=/seen,options=rbind:rw`,
      image,
      id,
      "sh",
      "-c",
      `${WAIT_SIZE} at "33 101"; : > /seen/${id}.seen; at "40 90"; exit 21`,
    );
    // the change is made when the container saw the first size
    const seen = join(dir, `${id}.seen`);
    const resize = `(until [ -e ${seen} ]; do sleep 0.05; done; stty -F /dev/tty rows 40 cols 90) 2>/dev/null &`;
    const said = await shell(`stty rows 33 cols 101; ${resize} ${line}; c=$?; wait; exit $c`, {
      tty: true,
      open: true,
    });
    // stty changes rows and columns one after the other: for the second change the client may find the process at its end
    const out = said.out
      .replaceAll("\r", "")
      .replace(/^.*resize pty.*cannot resize a stopped process.*\n/m, "");
    assert.equal(out, "33 101\n40 90\n", said.err);
    assert.equal(said.code, 21);
    const up = await detached(bed, "tty", "sleep", "1000");
    const exec = ctr.line(
      "tasks",
      "exec",
      "-t",
      "--exec-id",
      engine.id("e"),
      up,
      "sh",
      "-c",
      `${WAIT_SIZE} tty; at "12 34"; exit 4`,
    );
    const inside = await shell(`stty rows 12 cols 34; ${exec}`, { tty: true, open: true });
    assert.match(inside.out.replaceAll("\r", ""), /^\/dev\/pts\/\d+\n12 34\n/);
    assert.equal(inside.code, 4);
    await remove(ctr, up);
  },
};

const ORDER = [
  "/snapshot/prepare",
  "/containers/create",
  "/tasks/create",
  "/tasks/start",
  "/tasks/exit",
  "/tasks/delete",
  "/containers/delete",
] as const;

const events: Scenario = {
  name: "events: the life of a container in order, each once",
  async run({ ctr, engine, image }) {
    const watch = ctr.start(["events"]);
    const mark = `mark-${engine.id("m")}`;
    // the subscription has no answer: it is there when an event comes through
    let marks = 0;
    await until("the subscription", async () => {
      await ctr.ok("leases", "create", "--id", `${mark}-${++marks}`);
      await ctr.ok("namespaces", "create", `${mark}-${marks}`);
      await ctr.ok("namespaces", "rm", `${mark}-${marks}`);
      await ctr.ok("leases", "rm", `${mark}-${marks}`);
      return watch.out().includes(`${mark}-`);
    });
    const id = engine.id("ev");
    assert.equal((await ctr.run("run", "--rm", image, id, "sh", "-c", "exit 3")).code, 3);
    await watch.sees(new RegExp(`/containers/delete .*${id}`));
    watch.kill("SIGTERM");
    await watch.done;
    const mine = watch
      .out()
      .split("\n")
      .filter((line) => line.includes(id));
    const topics = mine.map((line) => line.match(/ (\/\S+) \{/)?.[1] ?? line);
    const wanted = topics.filter((topic) => (ORDER as readonly string[]).includes(topic));
    assert.deepEqual(wanted, ORDER, mine.join("\n"));
    const exit = JSON.parse(mine.find((line) => line.includes("/tasks/exit"))?.match(/\{.*\}/)?.[0] ?? "{}");
    assert.equal(exit.exit_status, 3);
    assert.equal(exit.container_id, id);
  },
};

const stopped: Scenario = {
  name: "containers create, tasks start, tasks rm: the steps of run by hand",
  async run({ ctr, engine, image }) {
    const id = engine.id("steps");
    await ctr.ok("containers", "create", image, id, "grep", "^root", "/etc/passwd", "/none");
    assert.equal((await ctr.run("containers", "create", image, id)).code, 1, "the name is taken");
    const said = await ctr.run("tasks", "start", id);
    assert.equal(said.code, 2, said.err);
    assert.match(said.out, /^\/etc\/passwd:root:x:0:0:/);
    await ctr.ok("tasks", "rm", id).catch(() => "gone with its client");
    await ctr.ok("containers", "rm", id);
  },
};

/** Everything with a container. */
export const containerScenarios: readonly Scenario[] = [
  exitCodes,
  large,
  options,
  inherited,
  failures,
  stopped,
  life,
  signals,
  attach,
  terminal,
  events,
];
