/**
 * The user's documents on how to install (features.md 1a, 1d, 1e), command by command as they write them, on a fresh Debian 12 with
 * systemd as process 1. Names of archives are ours; a registry on loopback stands for the public ones, as a mirror.
 * Needs root and scripts/setup-test-machine.sh.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "./client.ts";
import { DEBS, type Machine, startMachine, write } from "./machine/machine.ts";
import { BUN } from "./program.ts";
import { pushWeb, WEB_PAGE, writeWebLayout } from "./web-image.ts";

const ROOT = join(import.meta.dirname, "../..");
const HOSTS = `server = "https://docker.io"
[host."http://127.0.0.1:5000"]
capabilities = ["pull", "resolve"]
`;
/** What document 1e writes, letter by letter. */
const UNIT_1E = `[Unit]
Description=containerd container runtime
Documentation=https://containerd.io
After=network.target

[Service]
ExecStartPre=/sbin/modprobe overlay
ExecStart=/usr/local/bin/containerd
Delegate=yes
KillMode=process
LimitNOFILE=1048576
# Having non-zero Limit*s causes performance problems due to accounting overhead
# in the kernel. We recommend using cgroups to do container-local accounting.
LimitNPROC=infinity
LimitCORE=infinity

[Install]
WantedBy=multi-user.target
`;
/** What document 1a writes; the mirror is the one of the test. */
const UNIT_1A = `[Unit]
Description=containerd container runtime
Documentation=https://containerd.io
After=network-online.target
[Service]
ExecStartPre=/sbin/modprobe overlay
ExecStart=/usr/bin/containerd --config /etc/containerd/config.toml --registry-mirror=http://127.0.0.1:5000
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
[Install]
WantedBy=multi-user.target
`;

describe("the user's documents: installing", { timeout: 400_000 }, () => {
  const work = mkdtempSync(join(tmpdir(), "gantry-documents-"));
  let machine: Machine;
  let started: Machine | undefined;
  let registry: ChildProcess | undefined;
  const ok = (command: string): string => {
    const said = machine.run(command);
    assert.equal(said.code, 0, `${command}: ${said.err}${said.out}`);
    return said.out;
  };
  const pulled = (name: string): void => {
    ok(`ctr images rm --sync ${name} || true`);
    ok(`ctr images pull ${name}`);
    assert.match(ok("ctr images ls -q"), new RegExp(`^${name}$`, "m"));
  };

  before(async () => {
    execFileSync(
      BUN,
      [
        join(ROOT, "scripts/release.ts"),
        ...["--out", work, "--bundle", "--runc", "/usr/sbin/runc", "--cni", "/usr/lib/cni"],
      ],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    writeWebLayout(join(work, "web"));
    started = await startMachine();
    machine = started;
    for (const name of readdirSync(work).filter((file) => file.endsWith(".tar.gz")))
      machine.put(join(work, name), `/root/${name}`);
    machine.put(DEBS, "/root/debs");
    // the bundle brings runc and the plugins; address translation is the host's
    ok("dpkg -i /root/debs/*.deb > /dev/null 2>&1 && systemctl daemon-reload");
    registry = await startLabRegistry(work, machine);
  });
  after(async () => {
    registry?.kill("SIGKILL");
    await started?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  test("1e: tar -C /usr/local, the default configuration, a unit of one's own (004-5 to 004-7, 004-9)", () => {
    ok("tar zxf gantry-[0-9]*-linux-*.tar.gz -C /usr/local/");
    const listing = ok("cd /usr/local/bin/ && ls -l");
    for (const name of ["containerd", "containerd-shim-runc-v2", "ctr"])
      assert.match(listing, new RegExp(` ${name}\\b`));
    ok("mkdir -p /etc/containerd && containerd config default > /etc/containerd/config.toml");
    const size = Number(ok("stat -c %s /etc/containerd/config.toml"));
    assert.ok(size > 4000 && size < 16_000, `${size} bytes`);
    ok("touch /lib/systemd/system/containerd.service");
    write(machine, "/lib/systemd/system/containerd.service", UNIT_1E);
    // a container shares the host's modules: modprobe finds none to load
    ok(
      "printf '#!/bin/sh\\nexit 0\\n' > /root/modprobe && mount --bind /root/modprobe $(readlink -f /sbin/modprobe) && chmod +x /root/modprobe",
    );
    ok("systemctl daemon-reload");
    ok("systemctl start containerd.service");
    assert.match(ok("systemctl status --no-pager containerd.service"), /active \(running\)/);
    const said = ok("for i in $(seq 100); do ctr version && exit 0; sleep 0.1; done; exit 1");
    assert.match(
      said,
      /^Client:\n {2}Version: +\S+\n {2}Revision: .*\n {2}Go version: .*\n\nServer:\n {2}Version: +\S+\n {2}Revision: .*\n {2}UUID: [0-9a-f-]{36}\n$/m,
    );
  });

  test("1e: pull, list, run, list, delete (004-12 to 004-14)", () => {
    write(machine, "/etc/containerd/certs.d/docker.io/hosts.toml", HOSTS);
    ok("ctr images pull docker.io/library/nginx:alpine");
    assert.match(
      ok("ctr images list"),
      /^REF +TYPE +DIGEST +SIZE +PLATFORMS +LABELS *\ndocker\.io\/library\/nginx:alpine application\/vnd\.docker\.distribution\.manifest\.list\.v2\+json sha256:[0-9a-f]{64} \d+\.\d MiB linux\/amd64,linux\/arm64\/v8 +- *\n$/,
    );
    ok("ctr run -d docker.io/library/nginx:alpine nginx");
    const row =
      /^CONTAINER +IMAGE +RUNTIME *\nnginx +docker\.io\/library\/nginx:alpine +io\.containerd\.runc\.v2 *\n$/;
    assert.match(ok("ctr container list"), row);
    const running = machine.run("ctr container del nginx");
    assert.equal(running.code, 1, "it runs: the document deletes one that ended");
    assert.match(running.err, /cannot delete a non stopped container[\s\S]*ctr tasks kill -s KILL nginx/);
    ok("ctr tasks kill -s KILL nginx && ctr tasks delete nginx; ctr container del nginx");
    assert.match(ok("ctr container list"), /^CONTAINER +IMAGE +RUNTIME *\n$/);
  });

  test("1a: enable, start, status, the folders, a copy of the configuration (000-8 to 000-10)", () => {
    ok("systemctl stop containerd && rm /lib/systemd/system/containerd.service");
    ok("tar zxf gantry-[0-9]*-linux-*.tar.gz -C /usr");
    write(machine, "/lib/systemd/system/containerd.service", UNIT_1A);
    ok("systemctl daemon-reload && systemctl enable containerd && systemctl start containerd");
    assert.match(ok("systemctl status --no-pager containerd"), /enabled[\s\S]*active \(running\)/);
    ok("for i in $(seq 100); do ctr version && exit 0; sleep 0.1; done; exit 1");
    assert.match(
      ok("ls /var/lib/containerd"),
      /^io\.containerd\.content\.v1\.content$[\s\S]*^io\.containerd\.metadata\.v1\.bolt$/m,
    );
    assert.match(ok("ls -p /run/containerd"), /^containerd\.sock=?$[\s\S]*^containerd\.sock\.ttrpc=?$/m);
  });

  test("1a: the four mirror methods, by commands as written (000-11 to 000-15)", () => {
    const config = "/etc/containerd/config.toml";
    const restart = (): string =>
      ok(
        "systemctl restart containerd && for i in $(seq 100); do ctr version > /dev/null && exit 0; sleep 0.1; done; exit 1",
      );
    // systemd starts a unit five times in ten seconds, and the tests before have
    ok("systemctl reset-failed containerd");
    // 3: the flag, in the unit of the test before
    ok("rm -r /etc/containerd/certs.d");
    write(machine, config, "version = 2\n");
    restart();
    pulled("docker.io/library/nginx:alpine");
    // without any of them there is nobody to ask
    ok(
      "sed -i 's/ --registry-mirror=.*//' /lib/systemd/system/containerd.service && systemctl daemon-reload",
    );
    restart();
    assert.equal(
      machine.run(
        "ctr images rm --sync docker.io/library/nginx:alpine; ctr images pull docker.io/library/nginx:alpine",
      ).code,
      1,
    );
    // 1, the first way
    write(
      machine,
      config,
      `[plugins."io.containerd.grpc.v1.cri".registry.mirrors]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
endpoint=["http://127.0.0.1:5000"]
`,
    );
    restart();
    pulled("docker.io/library/nginx:alpine");
    assert.match(ok("crictl pull docker.io/library/nginx:latest"), /Image is up to date for sha256:/);
    // 1, the second way
    write(
      machine,
      config,
      '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n',
    );
    assert.match(ok("mkdir /etc/containerd/certs.d/docker.io -pv"), /created directory/);
    ok(`cat > /etc/containerd/certs.d/docker.io/hosts.toml << EOF\n${HOSTS}EOF`);
    ok("systemctl restart containerd");
    restart();
    pulled("docker.io/library/nginx:alpine");
    ok("rm -r /etc/containerd/certs.d");
    write(machine, config, "version = 2\n");
    ok("systemctl reset-failed containerd");
    // 2: the environment the daemon starts in
    ok("systemctl stop containerd");
    ok(
      "export CONTAINER_REGISTRY_MIRROR=http://127.0.0.1:5000; systemctl import-environment CONTAINER_REGISTRY_MIRROR",
    );
    ok("systemctl start containerd");
    restart();
    pulled("docker.io/library/nginx:alpine");
    ok("systemctl unset-environment CONTAINER_REGISTRY_MIRROR");
    ok(
      "systemctl disable --now containerd && rm /lib/systemd/system/containerd.service /usr/bin/containerd && systemctl daemon-reload",
    );
  });

  test("1d: the bundle for tar -C /, its files, the configuration, the service, the versions (003-1, 003-11 to 003-15)", () => {
    ok(
      "umount -l /var/lib/containerd/* 2> /dev/null; rm -rf /usr/local/bin/* /usr/local/etc /etc/containerd /opt/* /etc/cni",
    );
    ok("tar zxf gantry-bundle-*-linux-*.tar.gz -C /");
    assert.match(ok("cat /etc/cni/net.d/10-containerd-net.conflist"), /"type": "bridge"/);
    assert.match(
      ok("cat /etc/systemd/system/containerd.service"),
      /^ExecStart=\/usr\/local\/bin\/containerd$/m,
    );
    assert.match(
      ok("cat /etc/crictl.yaml"),
      /^runtime-endpoint: unix:\/\/\/run\/containerd\/containerd\.sock$/m,
    );
    assert.match(ok("ls -l /opt/cni/bin"), /bridge[\s\S]*host-local[\s\S]*loopback[\s\S]*portmap/);
    assert.match(ok("ls -l /opt/containerd/cluster"), /version/);
    assert.match(ok("ls -l /usr/local/bin/containerd*"), /containerd\n[\s\S]*containerd-shim-runc-v2/);
    ok("mkdir -p /etc/containerd && containerd config default > /etc/containerd/config.toml");
    // the edits: the lines as the document has them, where the file names these keys
    const file = "/etc/containerd/config.toml";
    ok(
      `sed -i 's/SystemdCgroup = false/SystemdCgroup = true/' ${file} && grep -q 'SystemdCgroup = true' ${file}`,
    );
    ok(
      `sed -i 's|^ *sandbox = .*|sandbox_image = "registry.aliyuncs.com/google_containers/pause:3.6"|' ${file} && grep -q sandbox_image.*aliyuncs ${file}`,
    );
    write(
      machine,
      "/etc/containerd/certs.d/registry.aliyuncs.com/hosts.toml",
      '[host."http://127.0.0.1:5000"]\n',
    );
    write(machine, "/etc/containerd/certs.d/docker.io/hosts.toml", HOSTS);
    ok("systemctl daemon-reload");
    ok("systemctl enable --now containerd");
    assert.match(ok("systemctl status --no-pager containerd.service"), /enabled[\s\S]*active \(running\)/);
    assert.match(ok("containerd -version"), /^containerd \S+ \S+ \S+\n$/);
    assert.match(ok("ctr version"), /Server:/);
    assert.match(
      ok("crictl version"),
      /^Version: +\S+\nRuntimeName: +containerd\nRuntimeVersion: +\S+\nRuntimeApiVersion: +v1\n$/,
    );
    ok("cp /usr/local/sbin/runc runc.amd64 && cp -rf runc.amd64 /usr/local/sbin/runc");
    assert.match(ok("chmod +x /usr/local/sbin/runc && runc -v"), /^runc version 1\./);
  });

  test("1d: a pod of this installation: its pause image from where the file says, cgroups of systemd, an address (003-2, 003-6, 003-12)", () => {
    ok("gantry builtin-image pause | ctr images import - > /dev/null");
    ok("ctr images push --plain-http 127.0.0.1:5000/google_containers/pause:3.6 gantry.local/pause:latest");
    write(
      machine,
      "/root/pod.yaml",
      "metadata: {name: web, namespace: default, uid: u1}\nlog_directory: /tmp/web\nport_mappings: [{container_port: 80, host_port: 8081}]\n",
    );
    write(
      machine,
      "/root/container.yaml",
      "metadata: {name: app}\nimage: {image: 'docker.io/library/nginx:latest'}\nlog_path: app.log\n",
    );
    const pod = ok("crictl --timeout 60s runp pod.yaml").trim();
    ok("crictl pull docker.io/library/nginx:latest");
    const container = ok(`crictl create ${pod} container.yaml pod.yaml`).trim();
    ok(`crictl start ${container}`);
    assert.match(ok("crictl images"), /registry\.aliyuncs\.com\/google_containers\/pause +3\.6/);
    const pid = ok(`crictl inspect -o go-template --template '{{.info.pid}}' ${container}`).trim();
    assert.match(ok(`cat /proc/${pid}/cgroup`), new RegExp(`cri-containerd-${container}\\.scope$`, "m"));
    ok("apt-get --version > /dev/null");
    assert.match(ok(`nsenter -n -t ${pid} ip -4 -o addr`), /eth0/);
    const address = ok(`crictl inspectp -o go-template --template '{{.status.network.ip}}' ${pod}`).trim();
    assert.equal(fetch(`http://${address}/`), WEB_PAGE);
    ok(`crictl stop -t 1 ${container} && crictl rm ${container}`);
    ok(`crictl start ${container} 2> /dev/null || crictl create ${pod} container.yaml pod.yaml`);
    assert.match(
      ok(`crictl inspectp -o go-template --template '{{.status.network.ip}}' ${pod}`),
      new RegExp(`^${address}\n`),
      "the pod keeps its address",
    );
    ok("crictl --timeout 60s rmp -af");
  });

  test("1d: the removal, by the document's own list (003-16)", () => {
    ok("systemctl disable --now containerd");
    for (const command of [
      "rm -rf /etc/cni",
      "rm /etc/systemd/system/containerd.service",
      "rm /etc/crictl.yaml",
      "rm -rf /opt/cni/",
      "rm -rf /opt/containerd/",
      "rm -rf /usr/local/bin/containerd*",
      "rm /usr/local/sbin/runc",
      "rm /usr/local/bin/ctr",
    ])
      ok(command);
    assert.equal(
      ok("find /usr/local -type f -size +1M; pgrep containerd || true"),
      "",
      "no program of ours is left, none runs",
    );
  });

  /** The machine has no curl. */
  function fetch(url: string): string {
    const [, host = ""] = /^http:\/\/([^/]+)\//.exec(url) ?? [];
    return ok(`exec 3<>/dev/tcp/${host}/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; sed '1,/^\\r$/d' <&3`);
  }
});

/** Debian's docker-registry in the machine's network, at 127.0.0.1:5000, with the web image under nginx's names. */
async function startLabRegistry(work: string, machine: Machine): Promise<ChildProcess> {
  const leader = /^\/proc\/(\d+)\//.exec(machine.path("/"))?.[1] ?? "";
  const inside = ["-t", leader, "-n", "--"];
  writeFileSync(
    join(work, "registry.yml"),
    `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: ${work}/registry}}
http: {addr: "127.0.0.1:5000", relativeurls: true}
`,
  );
  const child = spawn("nsenter", [...inside, "docker-registry", "serve", join(work, "registry.yml")], {
    env: { ...process.env, OTEL_TRACES_EXPORTER: "none" },
    stdio: "ignore",
  });
  await until("the registry", () => machine.run("exec 3<>/dev/tcp/127.0.0.1/5000").code === 0);
  for (const tag of ["alpine", "latest"])
    pushWeb(join(work, "web"), "127.0.0.1:5000", `library/nginx:${tag}`, (program, args) => [
      "nsenter",
      ...inside,
      program,
      ...args,
    ]);
  return child;
}
