/** `ctr registry login|logout|check` against Debian's docker-registry with TLS and a password, and against mirrors that fail. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { FakeRegistry } from "../fakes/registry.ts";
import { freePort, startRegistry, USER } from "../fixtures/registry.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A folder of its own as home, and our client in it. */
async function withHome(
  work: (home: string, ctr: (args: string[], stdin?: string) => Promise<Said>) => Promise<void>,
): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), "gantry-login-"));
  const run = (args: string[], stdin = ""): Promise<Said> =>
    new Promise((resolve, reject) => {
      const lead = "Deno" in globalThis ? ["run", "-A"] : [];
      const env = {
        ...process.env,
        HOME: home,
        DOCKER_CONFIG: join(home, ".docker"),
        PATH: `${home}/bin:${process.env["PATH"] ?? ""}`,
      };
      const child = spawn(process.execPath, [...lead, MAIN, "ctr", ...args], { env, stdio: "pipe" });
      let out = "";
      let err = "";
      child.stdout.on("data", (d) => (out += String(d)));
      child.stderr.on("data", (d) => (err += String(d)));
      child.on("error", reject);
      child.on("close", (code) => resolve({ code: code ?? 128, out, err }));
      child.stdin.end(stdin);
    });
  try {
    await work(home, run);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

test("login verifies, keeps the password privately, and pulls find it; logout forgets it", () =>
  withHome(async (home, ctr) => {
    await using server = await startRegistry({ tls: true, auth: true });
    const ca = ["--tlscacert", server.ca ?? ""];
    const file = join(home, ".docker", "config.json");
    const wrong = await ctr(
      ["registry", "login", "-u", USER.name, "--password-stdin", ...ca, server.host],
      "no\n",
    );
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /refuses this name or password/);
    assert.equal(existsSync(file), false);
    const before = await ctr(["registry", "check", ...ca, `${server.host}/team/app:v1`]);
    assert.equal(before.code, 1);
    assert.match(before.out, /credentials +none/);
    assert.match(before.out, /failed: 401/);
    assert.match(before.out, /nothing works/);

    await mkdir(join(home, ".docker"));
    await writeFile(file, '{"HttpHeaders":{"X-Keep":"me"},"auths":{"other.test":{"auth":"YTpi"}}}', {
      mode: 0o644,
    });
    const login = [
      "registry",
      "login",
      "-u",
      USER.name,
      "--password-stdin",
      ...ca,
      `https://${server.host}/v2/`,
    ];
    const right = await ctr(login, `${USER.password}\n`);
    assert.equal(right.code, 0, right.err);
    assert.match(right.out, /^Login Succeeded/);
    assert.ok(!right.out.includes(USER.password) && !right.err.includes(USER.password));
    const doc = JSON.parse(await readFile(file, "utf8"));
    assert.equal(
      Buffer.from(doc.auths[server.host].auth, "base64").toString(),
      `${USER.name}:${USER.password}`,
    );
    assert.deepEqual([doc.HttpHeaders, doc.auths["other.test"]], [{ "X-Keep": "me" }, { auth: "YTpi" }]);
    assert.equal((await stat(file)).mode & 0o777, 0o600);

    const root = await ctr(["registry", "check", ...ca, server.host]);
    assert.equal(root.code, 0, root.out + root.err);
    assert.match(root.out, new RegExp(`credentials +user "${USER.name}" from docker's ${file}`));
    const missing = await ctr(["registry", "check", ...ca, `${server.host}/team/app:v1`]);
    assert.equal(missing.code, 1);
    assert.match(missing.out, /failed: 404/);

    assert.match((await ctr(["registry", "logout", server.host])).out, /Removed the login/);
    assert.deepEqual(Object.keys(JSON.parse(await readFile(file, "utf8")).auths), ["other.test"]);
    assert.match((await ctr(["registry", "logout", server.host])).out, /Not logged in/);
  }));

test("a credential helper keeps the secret instead of the file; a link to the file stays one", () =>
  withHome(async (home, ctr) => {
    await using fake = await FakeRegistry.start({
      auth: { kind: "bearer", username: "alice", password: "pw one" },
    });
    fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
    await mkdir(join(home, "bin"));
    await mkdir(join(home, ".docker"));
    const helper = join(home, "bin", "docker-credential-box");
    await writeFile(
      helper,
      `#!/bin/sh\ncase $1 in store) cat > ${home}/box;; get) cat > ${home}/asked; cat ${home}/box;; erase) cat > ${home}/erased; rm ${home}/box;; esac\n`,
    );
    await chmod(helper, 0o755);
    await writeFile(join(home, "real.json"), '{"credsStore":"box"}');
    await symlink(join(home, "real.json"), join(home, ".docker", "config.json"));
    const login = ["registry", "login", "-u", "alice", "--password-stdin", fake.host];
    const said = await ctr(login, "pw one");
    assert.equal(said.code, 0, said.err);
    assert.match(said.out, /kept in credential helper box/);
    assert.deepEqual(JSON.parse(await readFile(join(home, "box"), "utf8")), {
      ServerURL: fake.host,
      Username: "alice",
      Secret: "pw one",
    });
    assert.equal((await readFile(join(home, "real.json"), "utf8")).includes("pw one"), false);
    const check = await ctr(["registry", "check", "-o", "json", `${fake.host}/team/app:v1`]);
    assert.equal(check.code, 0, check.out);
    const doc = JSON.parse(check.out);
    assert.equal(doc.hosts[0].credentials, 'user "alice" from credential helper box');
    assert.equal(await readFile(join(home, "asked"), "utf8"), `${fake.host}\n`);
    assert.equal((await ctr(["registry", "logout", fake.host])).code, 0);
    assert.equal(await readFile(join(home, "erased"), "utf8"), `${fake.host}\n`);
    assert.equal(existsSync(join(home, "box")), false);
  }));

test("check goes through the hosts of hosts.toml in their order and names what each one is and answers", () =>
  withHome(async (home, ctr) => {
    await using good = await FakeRegistry.start();
    await using empty = await FakeRegistry.start();
    const dead = await freePort();
    good.addImage("team/app", "v1", [new Uint8Array(1024)]);
    const dir = join(home, "certs.d", "r.test");
    await mkdir(dir, { recursive: true });
    const file = join(dir, "hosts.toml");
    const host = (url: string): string => `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`;
    const hosts = [`http://127.0.0.1:${dead}`, empty.url, good.url].map(host).join("");
    await writeFile(file, `server = "http://127.0.0.1:${dead}"\n${hosts}`);
    const config = join(home, "daemon.toml");
    await writeFile(
      config,
      `version = 3\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "${home}/none:${home}/certs.d"\n`,
    );
    const said = await ctr(["registry", "check", "--config", config, "r.test/team/app:v1"]);
    assert.equal(said.code, 0, said.out + said.err);
    const at = [
      "1. http://127.0.0.1",
      "connection refused",
      `2. ${empty.url}`,
      "failed: 404",
      `3. ${good.url}`,
      "ok: 200",
    ];
    let from = 0;
    for (const part of at) {
      const found = said.out.indexOf(part, from);
      assert.ok(found >= from, `${part} after ${from} in\n${said.out}`);
      from = found;
    }
    assert.equal(said.out.split(`named by     ${file}`).length, 5);
    assert.match(said.out, new RegExp(`a pull would resolve at ${good.url}`));
    assert.match(good.seen[0]?.url ?? "", /ns=r\.test/);
    await good.stop();
    assert.equal(
      (await ctr(["registry", "check", "--hosts-dir", `${home}/certs.d`, "r.test/team/app:v1"])).code,
      1,
    );
  }));
