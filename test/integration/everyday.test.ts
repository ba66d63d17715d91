/**
 * `gantry run`, `ps`, `logs`, `exec`, `stop`, `start`, `rm` and the rest on a real daemon with a real CNI bridge and published
 * ports, in a network namespace of its own. Needs root, Debian's CNI plugins and iptables.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { until } from "./client.ts";
import { ourBin } from "./program.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-everyday-"));
const IMAGE = imageName("busybox");

describe("everyday commands", { skip: process.getuid?.() !== 0 }, () => {
  let holder: ChildProcess;
  let daemon: ChildProcess;
  const bin = ourBin();
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env["PATH"]}`,
    CONTAINERD_ADDRESS: join(dir, "c.sock"),
    GANTRY_ENGINE_ROOT: join(dir, "engine"),
    CNI_PATH: "/usr/lib/cni",
    NETCONFPATH: join(dir, "net.d"),
  };
  const inside = (program: string, ...args: string[]): { code: number; out: string; err: string } => {
    const done = spawnSync("nsenter", ["-t", String(holder.pid), "-m", "-n", "--", program, ...args], {
      encoding: "utf8",
      env,
      timeout: 60_000,
    });
    return { code: done.status ?? 128, out: done.stdout, err: done.stderr };
  };
  const gantry = (...args: string[]) => inside(join(bin, "../gantry"), ...args);
  const ok = (...args: string[]): string => {
    const said = gantry(...args);
    assert.equal(said.code, 0, `${args.join(" ")}: ${said.err}`);
    return said.out;
  };
  const page = (): string => inside("curl", "-sS", "--max-time", "5", "http://127.0.0.1:18080/").out;

  before(async () => {
    mkdirSync(join(dir, "net.d"));
    writeFileSync(
      join(dir, "config.toml"),
      `version = 3
root = "${dir}/root"
state = "${dir}/state"
imports = []
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${dir}/c.sock"
[plugins."io.containerd.monitor.container.v1.restart"]
  interval = "1s"
`,
    );
    const script =
      "mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; ip link set lo up; exec sleep infinity";
    holder = spawn("unshare", ["-m", "-n", "--propagation", "private", "sh", "-ec", script], {
      stdio: "ignore",
    });
    await until("the namespaces", () => inside("mountpoint", "-q", "/run/netns").code === 0);
    const log = openSync(join(dir, "log"), "a");
    daemon = spawn(
      "nsenter",
      ["-t", String(holder.pid), "-m", "-n", "--", join(bin, "containerd"), "-c", join(dir, "config.toml")],
      { stdio: ["ignore", log, log], env },
    );
    await until("the daemon", () => readFileSync(join(dir, "log"), "utf8").includes("successfully booted"));
    const archive = testImages().archive("busybox");
    assert.equal(inside(join(bin, "ctr"), "images", "import", archive).code, 0);
  });
  after(async () => {
    for (const id of gantry("ps", "-aq").out.split("\n")) if (id !== "") gantry("rm", "-f", id);
    const gone = new Promise((resolve) => daemon.once("exit", resolve));
    daemon.kill("SIGTERM");
    await gone;
    holder.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  });

  test("run --rm: output and exit code, nothing left", () => {
    assert.equal(ok("run", "--rm", IMAGE, "echo", "hi there"), "hi there\n");
    assert.equal(gantry("run", "--rm", IMAGE, "sh", "-c", "exit 7").code, 7);
    assert.equal(ok("ps", "-aq"), "");
    assert.deepEqual(readdirSync(join(dir, "engine/containers/default")), []);
  });

  test("a web server: published port, log, exec, hosts, volume, limits, stop, start, rm", async () => {
    mkdirSync(join(dir, "www"));
    writeFileSync(join(dir, "www/index.html"), "from the volume\n");
    const id = ok(
      "run", "-d", "--name", "web", "-p", "18080:80", "-v", `${join(dir, "www")}:/www:ro`, "-e", "COLOR=blue",
      "-m", "64m", "--add-host", "db:10.0.0.9", IMAGE,
      "sh", "-c", "echo serving $COLOR; echo oops >&2; exec httpd -f -p 80 -h /www",
    ).trim(); // biome-ignore format: one command line
    assert.match(id, /^[0-9a-f]{64}$/);
    await until("the server", () => page() === "from the volume\n");
    const list = ok("ps");
    assert.match(list, /^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAME$/m);
    assert.match(list, new RegExp(`^${id.slice(0, 12)} +${IMAGE} .* Up +18080->80/tcp +web$`, "m"));
    const log = gantry("logs", "web");
    assert.equal(log.out, "serving blue\n");
    assert.equal(log.err, "oops\n");
    assert.match(
      ok("logs", "-t", "--tail", "1", "web") + gantry("logs", "-t", "--tail", "1", "web").err,
      /^\d{4}-.*Z oops$/m,
    );
    const hosts = ok("exec", "web", "cat", "/etc/hosts");
    assert.match(hosts, /^10\.89\.\d+\.\d+\tweb$/m);
    assert.equal(gantry("exec", "web", "touch", "/www/x").code, 1, "the volume is read-only");
    assert.equal(gantry("exec", "web", "sh", "-c", "exit 3").code, 3);
    const [facts] = JSON.parse(ok("inspect", id.slice(0, 8))) as [
      { name: string; state: { status: string }; network: { addresses: string[]; ports: string[] } },
    ];
    assert.equal(facts.name, "web");
    assert.equal(facts.state.status, "running");
    assert.deepEqual(facts.network.ports, ["18080:80/tcp"]);
    assert.match(facts.network.addresses[0] ?? "", /^10\.89\./);
    const [use] = JSON.parse(ok("stats", "-o", "json", "web")) as [{ name: string; memoryBytes: number }];
    assert.ok(use.memoryBytes > 0 && use.memoryBytes < 64 << 20);

    ok("stop", "-t", "1", "web");
    assert.match(ok("ps", "-a"), /Exited \(\d+\)/);
    assert.equal(page(), "", "the port is closed");
    ok("start", "web");
    await until("the server again", () => page() === "from the volume\n");
    const running = gantry("rm", "web");
    assert.equal(running.code, 1);
    assert.match(running.err, /it is running[\s\S]*gantry stop web/);
    ok("rm", "-f", "web");
    assert.equal(existsSync(join(dir, "engine/containers/default", id)), false);
    const leases = readdirSync(join(dir, "engine/networks/gantry-bridge"));
    assert.deepEqual(
      leases.filter((name) => /^\d/.test(name)),
      [],
      "no address stays taken",
    );
    assert.equal(inside("sh", "-c", "ls /run/netns; ip -o link | grep -c veth").out.trim(), "0");
  });

  test("--restart always: killed, it comes back with its network; stop keeps it stopped", async () => {
    ok(
      "run",
      "-d",
      "--name",
      "again",
      "--restart",
      "always",
      "-p",
      "18080:80",
      IMAGE,
      "sh",
      "-c",
      "mkdir /w; echo on > /w/index.html; exec httpd -f -p 80 -h /w",
    );
    await until("the server", () => page() === "on\n");
    const pidOf = (): number =>
      (JSON.parse(ok("inspect", "again")) as [{ state: { pid: number } }])[0].state.pid;
    const first = pidOf();
    process.kill(first, "SIGKILL");
    await until("a new process", () => ![0, first].includes(pidOf()) && page() === "on\n", 30_000);
    ok("stop", "-t", "0", "again");
    assert.match(ok("ps", "-a"), /Exited/);
    ok("rm", "again");
  });

  test("logs -f ends with the container, over rotations", () => {
    ok(
      "run",
      "-d",
      "--name",
      "chatty",
      "--log-size",
      "4k",
      "--log-files",
      "2",
      IMAGE,
      "sh",
      "-c",
      "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; sleep 1; echo last",
    );
    const out = ok("logs", "-f", "chatty");
    assert.match(out, /line 299\nlast\n$/);
    const [facts] = JSON.parse(ok("inspect", "chatty")) as [{ logPath: string }];
    assert.ok(existsSync(`${facts.logPath}.1`));
    assert.equal(existsSync(`${facts.logPath}.2`), false);
    ok("rm", "chatty");
  });

  test("what is wrong is said with the next step", () => {
    const said = (...args: string[]): string => {
      const done = gantry(...args);
      assert.equal(done.code, 1, args.join(" "));
      return done.err;
    };
    assert.match(said("run", "-p", "80", IMAGE), /not a port mapping[\s\S]*-p 8080:80/);
    assert.match(said("run", "--network", "nowhere", IMAGE), /network "nowhere"[\s\S]*bridge, host, none/);
    assert.match(said("run", "--pull", "never", "gantry.test/none:1"), /image "gantry.test\/none:1"/);
    assert.match(said("stop", "nobody"), /container "nobody" in namespace "default"[\s\S]*gantry ps -a/);
    assert.match(said("run", "-v", "x", IMAGE), /want SOURCE:TARGET/);
    assert.match(said("run", "--memory", "lots", IMAGE), /flag --memory "lots": .*64m/);
    assert.match(said("run", "--log-size", "lots", IMAGE), /flag --log-size "lots"/);
    assert.match(said("run", "--cap-add", "NOSUCH", IMAGE), /--cap-add "NOSUCH": no such capability/);
    assert.match(said("run", "--dns", "nowhere", IMAGE), /--dns "nowhere": want an address/);
    assert.match(said("run", "--platform", "bogus", IMAGE), /"bogus": unknown operating system/);
    assert.match(said("run", "--env-file", "/nonexistent/env", IMAGE), /"\/nonexistent\/env": no such file/);
    assert.match(said("run", "-it", IMAGE), /stdin is not a terminal[\s\S]*leave out -t/);
    assert.equal(ok("run", "--rm", "-t", IMAGE, "echo", "hi"), "hi\r\n", "without input none is needed");
    assert.match(said("ps", "-o", "bogus"), /--output "bogus": want table, json or yaml/);
    assert.match(said("rmi", "nosuch"), /image "nosuch" .*: not found\n +gantry images lists them/);
    assert.match(said("run"), /missing required argument 'image'\n +usage: gantry run \[options\] <image>/);
    assert.match(said("run", "--nam", "x", IMAGE), /unknown option '--nam'\n +did you mean --name\?/);
    assert.match(said("rum"), /unknown command "rum"\n +did you mean gantry run\?/);
    ok("run", "--name", "taken", IMAGE, "true");
    assert.match(
      said("run", "--name", "taken", IMAGE),
      /container "taken".*already exists[\s\S]*gantry rm taken/,
    );
    ok("rm", "taken");
    assert.equal(ok("ps", "-aq"), "", "nothing is left of what failed");
  });

  test("a program that cannot be started has a shell's exit code", () => {
    ok("run", "-d", "--name", "up", IMAGE, "sleep", "1000");
    for (const [program, code, text] of [
      ["nosuch", 127, /no program "nosuch"/],
      ["/etc/passwd", 126, /not executable/],
    ] as const)
      for (const said of [gantry("run", "--rm", IMAGE, program), gantry("exec", "up", program)]) {
        assert.equal(said.code, code, said.err);
        assert.match(said.err, text);
      }
    ok("rm", "-f", "up");
  });

  test("a port is published once: not over a running container's, not over a program's", async () => {
    const server = ["sh", "-c", "mkdir /w; echo first > /w/index.html; exec httpd -f -p 80 -h /w"];
    ok("run", "-d", "--name", "first", "-p", "18080:80", IMAGE, ...server);
    await until("the server", () => page() === "first\n");
    const second = ["run", "-d", "--name", "second", "-p", "127.0.0.1:18080:80", IMAGE, ...server];
    const refused = gantry(...second);
    assert.equal(refused.code, 1);
    assert.match(
      refused.err,
      /port 127\.0\.0\.1:18080:80\/tcp: container "first" has it[\s\S]*gantry stop first/,
    );
    assert.equal(gantry("-n", "other", ...second).code, 1, "whatever its namespace");
    ok("stop", "-t", "0", "first");
    ok(...second);
    assert.match(gantry("start", "first").err, /container "second" has it/);
    ok("rm", "-f", "first", "second");
    const listener = spawn(
      "nsenter",
      ["-t", String(holder.pid), "-m", "-n", "--", "/bin/busybox", "nc", "-l", "-p", "18081"],
      { stdio: "ignore" },
    );
    try {
      await until("the listener", () => inside("ss", "-Hltn", "sport = 18081").out !== "");
      assert.match(
        gantry("run", "-d", "-p", "18081:80", IMAGE).err,
        /a program of this machine listens there/,
      );
    } finally {
      listener.kill("SIGKILL");
    }
    assert.equal(ok("ps", "-aq"), "");
  });

  test("stop and restart under a restart policy take the time they were given", async () => {
    // TERM is noticed and answered late: later than the monitor's next pass
    const slow = "trap 'sleep 3; echo done; exit 5' TERM; echo up; while :; do sleep 0.1; done";
    ok("run", "-d", "--name", "slow", "--restart", "always", IMAGE, "sh", "-c", slow);
    await until("its trap", () => ok("logs", "slow") === "up\n");
    ok("restart", "-t", "30", "slow");
    await until("its trap again", () => ok("logs", "slow") === "up\ndone\nup\n");
    ok("stop", "-t", "30", "slow");
    assert.match(ok("ps", "-a"), /Exited \(5\)/);
    ok("start", "slow");
    await until("its trap once more", () => ok("logs", "slow").endsWith("done\nup\n"));
    const labels = (JSON.parse(ok("inspect", "slow")) as [{ labels: Record<string, string> }])[0].labels;
    assert.equal(labels["containerd.io/restart.status"], "running");
    ok("rm", "-f", "slow");
  });

  test("lists as JSON and YAML", () => {
    ok("run", "-d", "--name", "listed", IMAGE, "sleep", "1000");
    assert.equal((JSON.parse(ok("ps", "-o", "json")) as [{ name: string }])[0].name, "listed");
    assert.match(ok("ps", "-o", "yaml"), /^ {2}name: listed$/m);
    assert.match(ok("inspect", "-o", "yaml", "listed"), /^ {2}name: listed$/m);
    assert.match(ok("images", "-o", "yaml"), /name: gantry\.test\/busybox:latest/);
    assert.match(ok("stats", "--no-stream", "-o", "yaml", "listed"), /^ {2}name: listed$/m);
    ok("rm", "-f", "listed");
  });

  test("images: list, rmi", () => {
    assert.match(ok("images"), /^gantry\.test\/busybox +latest +[0-9a-f]{12} /m);
    ok("rmi", "gantry.test/busybox");
    assert.doesNotMatch(ok("images"), /busybox/);
  });
});
