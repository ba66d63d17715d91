/** What crictl must do with any CRI engine: the same tests for Debian's containerd and for ours. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse } from "yaml";
import { BUSYBOX, type CriPeer } from "../peers/cri-peer.ts";
import type { Said } from "../peers/peer.ts";
import { ourBin } from "./program.ts";

/** What an engine can do that others cannot. */
export interface Features {
  /** WebSocket channel protocol 5: input can end. */
  readonly halfClose: boolean;
}

/** Declares the tests. */
export function crictlSuite(start: () => Promise<CriPeer>, features: Features): void {
  let peer: CriPeer;
  let dir = "";
  let pod = "";
  let shell = "";

  const env = (): Record<string, string> => ({
    CONTAINER_RUNTIME_ENDPOINT: `unix://${peer.address}`,
    // a file of the machine may name another
    IMAGE_SERVICE_ENDPOINT: `unix://${peer.address}`,
  });
  const program = (): string => join(ourBin(), "crictl");
  const run = (args: readonly string[], input = ""): Said =>
    peer.run(program(), ["-t", "20s", ...args], { env: env(), input });
  const ok = (...args: readonly string[]): string => {
    const said = run(args);
    assert.equal(said.code, 0, `crictl ${args.join(" ")}: ${said.err}`);
    return said.out.trim();
  };
  const file = (name: string, content: unknown): string => {
    const path = join(dir, name);
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  };
  const container = (name: string, command: readonly string[], more: object = {}): string =>
    file(`${name}.json`, {
      metadata: { name },
      image: { image: BUSYBOX },
      command,
      log_path: `${name}/0.log`,
      labels: { "io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "default", app: name },
      envs: [{ key: "GREETING", value: "hello" }],
      linux: {},
      ...more,
    });
  /** Creates and starts. */
  const started = (name: string, command: readonly string[], more: object = {}): string => {
    const id = ok("create", pod, container(name, command, more), join(dir, "pod.yaml"));
    ok("start", id);
    return id;
  };
  const until = async (what: string, check: () => boolean): Promise<void> => {
    for (const end = Date.now() + 15_000; Date.now() < end; await new Promise((r) => setTimeout(r, 50)))
      if (check()) return;
    assert.fail(`waited 15 s for ${what}`);
  };

  before(
    async () => {
      peer = await start();
      dir = join(peer.dir, "files");
      mkdirSync(dir);
      const name = `gantry-${peer.tag}`;
      file(
        "pod.yaml",
        `metadata: {name: web, namespace: default, attempt: 1}
log_directory: ${dir}/logs
labels: {app: web}
annotations: {note: "a: b"}
linux: {cgroup_parent: /${name}}
`,
      );
      pod = ok("runp", join(dir, "pod.yaml"));
      shell = started("shell", ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"]);
    },
    { timeout: 60_000 },
  );
  after(
    async () => {
      if (peer !== undefined) run(["rmp", "-af"]);
      await peer?.stop();
    },
    { timeout: 60_000 },
  );

  test("version, info and a wrong endpoint", () => {
    assert.match(
      ok("version"),
      /^Version: {2}0\.1\.0\nRuntimeName: {2}\S+\nRuntimeVersion: {2}\S+\nRuntimeApiVersion: {2}v1$/,
    );
    const info = JSON.parse(ok("info")) as { status: { conditions: { type: string; status: boolean }[] } };
    assert.ok(info.status.conditions.some((c) => c.type === "RuntimeReady" && c.status));
    assert.deepEqual(parse(ok("info", "-q", "-o", "yaml")), JSON.parse(ok("info", "-q")));
    const wrong = run(["-r", "unix:///no/such.sock", "--max-retries", "0", "version"]);
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /connect to "\/no\/such\.sock": no such file.*\n.*--runtime-endpoint/);
  });

  test("pods, ps, images: tables, quiet, json, yaml, filters", () => {
    const pods = ok("pods").split("\n");
    assert.match(pods[0] ?? "", /^POD ID {14}CREATED +STATE {15}NAME {16}NAMESPACE {11}ATTEMPT {13}RUNTIME$/);
    assert.match(
      pods[1] ?? "",
      new RegExp(`^${pod.slice(0, 13)} {7}.*ago +Ready +web +default +1 +\\(default\\)$`),
    );
    assert.equal(ok("pods", "-q", "--state", "ready", "--label", "app=web", "--name", "^w"), pod);
    assert.equal(ok("pods", "-q", "--name", "nope"), "");
    for (const list of ["pods", "ps"]) assert.match(ok(list, "--no-trunc"), new RegExp(`\\b${pod} `));
    const { items } = JSON.parse(ok("pods", "-o", "json")) as {
      items: { id: string; state: string; createdAt: string }[];
    };
    assert.deepEqual([items[0]?.id, items[0]?.state], [pod, "SANDBOX_READY"]);
    assert.match(items[0]?.createdAt ?? "", /^\d{19}$/);
    assert.deepEqual(parse(ok("pods", "-o", "yaml")), JSON.parse(ok("pods", "-o", "json")));

    assert.match(
      ok("ps"),
      new RegExp(
        `^CONTAINER +IMAGE +CREATED +STATE +NAME +ATTEMPT +POD ID +POD +NAMESPACE\n${shell.slice(0, 13)} .* Running +shell +0 +${pod.slice(0, 13)} +web +default$`,
      ),
    );
    for (const filter of [
      ["--image", BUSYBOX],
      ["--pod", pod],
      ["--namespace", "default"],
      ["--last", "1"],
      ["-a"],
      ["-l"],
    ])
      assert.equal(ok("ps", "-q", ...filter), shell, filter.join(" "));
    assert.equal(ok("ps", "-q", "--state", "Exited"), "");
    assert.match(run(["ps", "--state", "odd"]).err, /should be one of created, running, exited or unknown/);

    assert.match(ok("images", "--digests", "--pinned"), /^IMAGE +TAG +DIGEST +IMAGE ID +SIZE +PINNED\n/);
    const [name, tag] = BUSYBOX.split(":");
    assert.match(ok("images"), new RegExp(`${name} +${tag} +[0-9a-f]{13} +[0-9.]+MB`));
    assert.match(ok("images", "-q", BUSYBOX), /^(sha256:)?[0-9a-f]{64}/);
    assert.match(ok("imagefsinfo", "-o", "table"), /Image Filesystem \nTimeStamp\[0\]: \d+/);
  });

  test("inspect, inspectp, inspecti: json, templates, table", () => {
    const info = JSON.parse(ok("inspect", shell)) as {
      info: { pid: number };
      status: { id: string; state: string; startedAt: string; finishedAt: string; labels: object };
    };
    assert.ok(info.info.pid > 1);
    assert.deepEqual([info.status.id, info.status.state], [shell, "CONTAINER_RUNNING"]);
    assert.match(info.status.startedAt, /^2\d{3}-.*T.*(Z|\+)/);
    assert.equal(info.status.finishedAt, "0001-01-01T00:00:00Z");
    const template = "{{.status.metadata.name}} {{range $k, $v := .status.labels}}{{$k}}={{$v}};{{end}}";
    assert.equal(
      ok("inspect", "-o", "go-template", "--template", template, "--name", "^shell$"),
      "shell app=shell;io.kubernetes.pod.name=web;io.kubernetes.pod.namespace=default;",
    );
    assert.match(
      run(["inspect", "-o", "go-template", "--template", "{{.nope}}", shell]).err,
      /no entry for key "nope"/,
    );
    assert.match(
      ok("inspect", "-q", "-o", "table", shell),
      /^ID: [0-9a-f]+\nName: shell\nState: CONTAINER_RUNNING\nCreated: .* ago\n/,
    );
    assert.match(
      ok("inspectp", "-o", "go-template", "--template", "{{.status.network.ip}}", pod),
      /^10\.91\.0\.\d+$/,
    );
    assert.match(
      ok("inspecti", "-q", "-o", "yaml", BUSYBOX),
      /repoTags:\n {2}- gantry\.test\/busybox:latest/,
    );
    const gone = run(["inspect", "nosuchcontainer"]);
    assert.equal(gone.code, 1);
    assert.match(gone.err, /^crictl: get the status of containers: .*nosuchcontainer/);
  });

  for (const transport of ["spdy", "websocket"])
    test(`exec over ${transport}: streams, exit codes, piped input, much output`, () => {
      const exec = (...args: string[]): Said => run(["exec", "-r", transport, ...args]);
      const both = exec(shell, "sh", "-c", 'echo "$GREETING"; echo problem >&2; exit 3');
      assert.deepEqual([both.code, both.out], [3, "hello\n"]);
      assert.match(
        both.err,
        /^problem\ncrictl: execing command in container [0-9a-f]+: command terminated with exit code 3\n$/,
      );
      assert.equal(exec(shell, "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x").out.length, 3_000_000);
      const missing = exec(shell, "/no/such/program");
      assert.notEqual(missing.code, 0);
      assert.match(missing.err, /no such file|not found/);
      if (transport === "spdy" || features.halfClose) {
        const input = "0123456789".repeat(100_000);
        assert.equal(run(["exec", "-i", "-r", transport, shell, "wc", "-c"], input).out.trim(), "1000000");
      }
      assert.deepEqual(exec("--name", "^shell$", "echo", "-n", "x").out, `${shell}:\nx`);
      assert.equal(exec("-q", "--label", "app=shell", "-e", "sh", "-c", "exit 9").code, 0);
    });

  test("exec --sync, and what a terminal needs", () => {
    const sync = run(["exec", "-s", shell, "sh", "-c", "echo out; echo err >&2; exit 4"]);
    assert.deepEqual([sync.code, sync.out], [4, "out\n"]);
    assert.match(sync.err, /^err\ncrictl: .*exit code 4/);
    assert.match(run(["exec", "-it", shell, "sh"]).err, /input is not a terminal/);
    assert.match(run(["exec", "-t", shell, "sh"]).err, /tty=true must be specified with interactive=true/);
  });

  for (const transport of ["spdy", "websocket"])
    test(`exec -it and attach -it over ${transport}: sizes, exit code, detaching`, async () => {
      const id = started(`tty-${transport}`, ["sh"], { tty: true, stdin: true });
      const inside = await terminal(peer.wrap(program(), ["exec", "-it", "-r", transport, id, "sh"]), env(), [
        ["# ", "echo $((40+2)); stty size\n"],
        ["42\r\n33 111\r\n", "exit 7\n"],
      ]);
      assert.equal(inside.code, 7, inside.out);
      const attached = await terminal(peer.wrap(program(), ["attach", "-it", "-r", transport, id]), env(), [
        ["", "echo $((50+5))\n"],
        ["55\r\n", "\x10\x11"],
      ]);
      assert.equal(attached.code, 0, attached.out);
      assert.equal(ok("ps", "-q", "--id", id), id, "the container runs on");
      ok("rm", "-f", id);
    });

  for (const transport of features.halfClose ? ["spdy", "websocket"] : ["spdy"])
    test(`attach with piped input over ${transport}: its end is the process's with stdin_once`, async () => {
      const name = `piped-${transport}`;
      const id = started(name, ["sh", "-c", "cat; echo end"], { stdin: true, stdin_once: true });
      const input = `${"0123456789".repeat(20_000)}\n`;
      const said = run(["attach", "-i", "-r", transport, id], input);
      assert.deepEqual([said.code, said.out.length, said.err], [0, input.length + 4, ""]);
      assert.equal(said.out, `${input}end\n`);
      await until("the end", () => ok("ps", "-q", "--state", "exited", "--id", id) === id);
      // the log has what the client saw
      assert.equal(run(["logs", id]).out, `${input}end\n`);
      ok("rm", id);
    });

  test("logs: both streams, tail, since, time stamps, limit, follow over a rotation until the end", async () => {
    const said = run(["logs", shell]);
    assert.deepEqual([said.code, said.out, said.err], [0, "out\n", "err\n"]);
    assert.equal(run(["logs", "--stream", "stderr", shell]).out, "");
    assert.match(ok("logs", "-t", "--stream", "stdout", shell), /^\d{4}-\d\d-\d\dT\S+ out$/);
    assert.equal(ok("logs", "--since", "2100-01-02T03:04:05Z", shell), "");
    assert.equal(run(["logs", "--limit-bytes", "2", "--stream", "stdout", shell]).out, "ou");

    const id = started("writer", [
      "sh",
      "-c",
      "i=0; while [ ! -e /tmp/end ]; do echo $i; i=$((i+1)); sleep 0.01; done",
    ]);
    await until("some lines", () => ok("logs", id).split("\n").length > 5);
    assert.equal(ok("logs", "--tail", "2", id).split("\n").length, 2);
    const follower = peer.wrap(program(), ["logs", "-f", id]);
    const child = spawn(follower[0], follower.slice(1), {
      env: { ...process.env, ...env() },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    child.stdout.on("data", (data: Buffer) => {
      out += data.toString();
    });
    const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
    await until("followed lines", () => out.split("\n").length > 5);
    const log = JSON.parse(ok("inspect", "-q", id)) as { status: { logPath: string } };
    peer.run("mv", [log.status.logPath, `${log.status.logPath}.1`]);
    ok("logs", "--reopen", "--tail", "0", id);
    const before = out.split("\n").length;
    await until("lines after the rotation", () => out.split("\n").length > before + 5);
    ok("exec", id, "touch", "/tmp/end");
    assert.equal(await ended, 0);
    const lines = out.trim().split("\n").map(Number);
    assert.deepEqual(
      lines,
      Array.from({ length: lines.length }, (_, i) => i),
      "every line once and in order",
    );
    await until("the end of the container", () => ok("ps", "-q", "--id", id) === "");
    ok("rm", id);
    assert.ok(
      !existsSync(log.status.logPath) && readdirSync(join(dir, "logs/writer")).length === 0,
      "logs are removed",
    );
  });

  for (const transport of ["spdy", "websocket"])
    test(`port-forward over ${transport}: many connections, and a port where nobody listens`, async () => {
      ok(
        "exec",
        shell,
        "sh",
        "-c",
        "mkdir -p /tmp/www; head -c 2000000 /dev/zero > /tmp/www/zero; pidof httpd || httpd -p 8080 -h /tmp/www",
      );
      const port = await freePort();
      const [cmd, ...args] = peer.wrap(program(), [
        "port-forward",
        "-r",
        transport,
        pod,
        `${port}:8080`,
        ":9",
      ]);
      const child = spawn(cmd, args, {
        env: { ...process.env, ...env() },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let out = "";
      child.stdout.on("data", (data: Buffer) => (out += data.toString()));
      child.stderr.on("data", (data: Buffer) => (out += data.toString()));
      const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
      try {
        await until("the forward", () => /Forwarding from 127\.0\.0\.1:\d+ -> 9\n/.test(out));
        const many = `for i in 1 2 3 4 5 6 7 8; do curl -sS --max-time 20 http://127.0.0.1:${port}/zero | wc -c & done; wait`;
        assert.equal(peer.run("sh", ["-c", many]).out, "2000000\n".repeat(8), out);
        const nobody = /127\.0\.0\.1:(\d+) -> 9\n/.exec(out)?.[1] ?? "";
        peer.run("curl", ["-sS", "--max-time", "10", `http://127.0.0.1:${nobody}/`]);
        await until("the reason", () => /error occurred forwarding \d+ -> 9: .*refused/.test(out));
      } finally {
        child.kill("SIGINT");
      }
      assert.equal(await ended, 0, out);
    });

  test("create, start, update, stop, rm and their events", async () => {
    const [cmd, ...args] = peer.wrap(program(), [
      "events",
      "-o",
      "go-template",
      "--template",
      "{{.containerId}} {{.containerEventType}}",
    ]);
    const watching = spawn(cmd, args, {
      env: { ...process.env, ...env() },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let events = "";
    watching.stdout.on("data", (data: Buffer) => (events += data.toString()));
    const ended = new Promise<number | null>((resolve) => watching.once("close", (code) => resolve(code)));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const id = started("short", ["sleep", "1000"]);
    ok("update", "--memory", "134217728", "--cpu-quota", "50000", id);
    const { status } = JSON.parse(ok("inspect", "-q", id)) as {
      status: { resources: { linux: Record<string, string> } };
    };
    assert.equal(status.resources.linux["memoryLimitInBytes"], "134217728");
    const busy = run(["rm", id]);
    assert.deepEqual([busy.code, /please stop it first\n.*crictl rm -f/.test(busy.err)], [1, true]);
    assert.equal(ok("stop", id), id);
    assert.match(ok("ps", "-a", "--id", id), / Exited +short /);
    assert.equal(ok("rm", id), id);
    const want = ["CREATED", "STARTED", "STOPPED", "DELETED"].map(
      (event) => `${id} CONTAINER_${event}_EVENT`,
    );
    await until("the events", () => want.every((line) => events.includes(line)));
    watching.kill("SIGINT");
    assert.equal(await ended, 0);
  });

  test("run makes pod and container; stopp, rmp", () => {
    const config = file("run-pod.json", {
      metadata: { name: "second", namespace: "default" },
      linux: { cgroup_parent: `/gantry-${peer.tag}` },
    });
    const id = ok("run", "--no-pull", container("once", ["sleep", "1000"]), config);
    const second = ok("pods", "-q", "--name", "^second$");
    assert.equal(ok("ps", "-q", "--pod", second), id);
    assert.match(run(["rmp", second]).err, /is running, please stop it first/);
    assert.equal(ok("stopp", second), `Stopped sandbox ${second}`);
    assert.match(ok("pods", "--state", "notready"), / NotReady +second /);
    assert.equal(ok("rmp", second), `Removed sandbox ${second}`);
    const typo = run(["runp", file("bad.yaml", "metadata: {name: x}\n")]);
    assert.deepEqual(
      [typo.code, /bad\.yaml": metadata has no name or no namespace/.test(typo.err)],
      [1, true],
    );
  });

  test("stats, statsp", () => {
    assert.match(
      ok("stats", shell),
      new RegExp(
        `^CONTAINER +NAME +CPU % +MEM +DISK +INODES +SWAP\n${shell.slice(0, 13)} +shell +\\d+\\.\\d\\d +[0-9.]+[kM]B`,
      ),
    );
    const { stats } = JSON.parse(ok("stats", "-o", "json")) as { stats: { attributes: { id: string } }[] };
    assert.ok(stats.some((s) => s.attributes.id === shell));
    assert.match(ok("statsp"), new RegExp(`^POD +POD ID +CPU % +MEM\nweb +${pod.slice(0, 13)} `));
  });

  test("rmi: by name, prune leaves what is used", async () => {
    const tag = "gantry.test/other:latest";
    peer.tagImage(BUSYBOX, tag);
    await until("the new name", () => ok("images", "-o", "json").includes(tag));
    ok("rmi", "--prune");
    assert.match(ok("images"), /gantry\.test\/busybox +latest/);
    const gone = run(["rmi", "gantry.test/nope:latest"]);
    assert.deepEqual([gone.code, /no such image gantry\.test\/nope/.test(gone.err)], [1, true]);
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return address !== null && typeof address === "object" ? address.port : 0;
}

/** Runs a program on a terminal of 33 rows and 111 columns: waits for each text, then types. */
async function terminal(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  steps: readonly (readonly [string, string])[],
): Promise<{ code: number | null; out: string }> {
  const quoted = command.map((word) => `'${word.replace(/'/g, "'\\''")}'`).join(" ");
  const child = spawn("script", ["-qefc", `stty rows 33 cols 111; exec ${quoted}`, "/dev/null"], {
    env: { ...process.env, ...env, TERM: "dumb" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let out = "";
  let seen = 0;
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  for (const [wait, type] of steps) {
    for (const end = Date.now() + 15_000; Date.now() < end; await new Promise((r) => setTimeout(r, 30))) {
      const at = out.indexOf(wait, seen);
      if (at < 0) continue;
      seen = at + wait.length;
      break;
    }
    // an attach has no prompt of its own to wait for
    if (wait === "") await new Promise((r) => setTimeout(r, 1_000));
    child.stdin.write(type);
  }
  const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
  const code = await ended;
  clearTimeout(late);
  return { code, out };
}
