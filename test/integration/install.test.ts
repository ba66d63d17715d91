/**
 * install.sh on a fresh Debian 12 machine with systemd as process 1: the tarball without a network, the hello container, a second
 * run, the removal. Needs root and scripts/setup-test-machine.sh. GANTRY_TEST_RELEASE names a tarball to use instead of a new one.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DEBS, type Machine, startMachine, write } from "./machine/machine.ts";

const ROOT = join(import.meta.dirname, "../..");
/** Everything an installation may touch outside of packages. */
const TOUCHED =
  "/usr/local /opt /etc/containerd /etc/cni /etc/crictl.yaml /etc/systemd /var/lib/containerd /run/containerd /var/log/gantry.log";
const LISTING = `find ${TOUCHED} -printf '%p %y %l\\n' 2>/dev/null | sort`;
const INSTALL = "/root/gantry/install.sh --offline --packages /root/debs";

describe("install.sh on a fresh machine", { timeout: 240_000 }, () => {
  const work = mkdtempSync(join(tmpdir(), "gantry-install-"));
  let machine: Machine;
  let started: Machine | undefined;
  let fresh = "";

  before(async () => {
    unpackRelease(join(work, "gantry"));
    started = await startMachine();
    machine = started;
    machine.put(join(work, "gantry"), "/root/gantry");
    machine.put(DEBS, "/root/debs");
    fresh = machine.run(LISTING).out;
  });
  after(async () => {
    await started?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  test("a dry run says what it would do and changes nothing", () => {
    const said = machine.run(`${INSTALL} --dry-run`);
    assert.equal(said.code, 0, said.out + said.err);
    assert.match(said.out, /would install: runc iptables containernetworking-plugins/);
    assert.match(said.out, /\/usr\/local\/bin\/containerd -> gantry/);
    assert.equal(machine.run(LISTING).out, fresh);
  });

  test("a file of somebody else is not replaced", () => {
    write(machine, "/usr/local/bin/ctr", "#!/bin/sh\n");
    const said = machine.run(INSTALL);
    assert.equal(said.code, 1);
    assert.match(said.err, /\/usr\/local\/bin\/ctr is there and is not ours\n {2}next: .*--force/);
    machine.run("rm /usr/local/bin/ctr; /root/gantry/install.sh --uninstall");
    assert.equal(machine.run(LISTING).out, fresh);
  });

  test("the installation ends with the hello container's words", () => {
    const began = Date.now();
    const said = machine.run(INSTALL);
    assert.equal(said.code, 0, said.out + said.err);
    console.log(`install.sh took ${((Date.now() - began) / 1000).toFixed(1)} s`);
    assert.match(said.out, /Hello from Gantry\. Your container engine works\./);
    assert.match(said.out, /process 1 of its own namespace/);
    assert.match(said.out, /is installed and running\. Try:/);
  });

  test("the service is enabled, active, and answers by every name", () => {
    assert.equal(machine.run("systemctl is-enabled containerd").out, "enabled\n");
    const status = machine.run("systemctl status --no-pager containerd");
    assert.equal(status.code, 0, status.out);
    assert.match(status.out, /active \(running\)/);
    assert.match(machine.run("ctr version").out, /Server:/);
    assert.match(machine.run("containerd --version").out, /\S+/);
    assert.equal(
      machine.run("test -x /opt/cni/bin/bridge && test -s /etc/cni/net.d/10-containerd-net.conflist").code,
      0,
    );
    assert.match(
      machine.run("cat /etc/crictl.yaml").out,
      /runtime-endpoint: unix:\/\/\/run\/containerd\/containerd.sock/,
    );
    const left = machine.run("ctr containers ls -q; ctr tasks ls -q; ctr images ls -q").out;
    assert.equal(left, "gantry.local/hello:latest\n", "the hello container is removed, its image stays");
  });

  test("a second run restarts nothing and keeps what a person changed", () => {
    const pid = machine.run("systemctl show -p MainPID containerd").out;
    machine.run("echo '# mine' >> /etc/containerd/config.toml");
    const listing = machine.run(LISTING).out;
    const said = machine.run(INSTALL);
    assert.equal(said.code, 0, said.out + said.err);
    assert.match(said.out, /Your container engine works/);
    assert.doesNotMatch(said.out, /installing packages/);
    assert.equal(machine.run("systemctl show -p MainPID containerd").out, pid);
    assert.match(machine.run("tail -1 /etc/containerd/config.toml").out, /# mine/);
    const persistent = (text: string): string => text.replace(/^\/(var\/lib|run)\/containerd.*\n/gm, "");
    assert.equal(persistent(machine.run(LISTING).out), persistent(listing));
  });

  test("a pod with the systemd cgroup driver (version 1), the daemon restarted under it", () => {
    write(
      machine,
      "/etc/containerd/conf.d/10-systemd.toml",
      `version = 3
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = true
`,
    );
    write(
      machine,
      "/root/pod.yaml",
      "metadata: {name: p, namespace: default, uid: u1}\nlog_directory: /tmp/pods\nlinux: {cgroup_parent: gantrytest.slice}\n",
    );
    write(
      machine,
      "/root/con.yaml",
      "metadata: {name: c}\nimage: {image: 'gantry.local/pause:latest'}\nlog_path: c.log\nlinux: {resources: {memory_limit_in_bytes: 67108864}}\n",
    );
    const ok = (command: string): string => {
      const said = machine.run(command);
      assert.equal(said.code, 0, `${command}: ${said.err}${said.out}`);
      return said.out.trim();
    };
    ok("systemctl restart containerd && gantry builtin-image pause | ctr -n k8s.io images import -");
    const pod = ok("crictl --timeout 60s runp pod.yaml");
    const container = ok(`crictl --timeout 60s create ${pod} con.yaml pod.yaml`);
    ok(`crictl --timeout 60s start ${container}`);
    const pid = ok(`crictl inspect -o go-template --template '{{.info.pid}}' ${container}`);
    const scope = `/gantrytest.slice/cri-containerd-${container}.scope`;
    assert.match(ok(`cat /proc/${pid}/cgroup`), new RegExp(`memory:.*${scope}$`, "m"));
    ok(`systemctl is-active cri-containerd-${container}.scope`);
    const limit = ok(
      `cat /sys/fs/cgroup/memory$(grep :memory: /proc/${pid}/cgroup | cut -d: -f3)/memory.limit_in_bytes`,
    );
    assert.equal(limit, "67108864");
    ok("systemctl restart containerd");
    assert.match(ok("crictl pods"), /Ready/);
    assert.match(ok("crictl stats -a"), new RegExp(container.slice(0, 13)));
    ok("crictl --timeout 60s rmp -af");
    assert.equal(ok("ip -o link | grep -c veth || true"), "0");
    ok("systemctl stop gantrytest.slice; rm -r /etc/containerd/conf.d && systemctl restart containerd");
    ok("ctr -n k8s.io images rm gantry.local/pause:latest");
  });

  test("the removal refuses while a container runs", () => {
    const made = machine.run(
      "gantry builtin-image pause | ctr images import - && ctr run -d gantry.local/pause:latest held",
    );
    assert.equal(made.code, 0, made.err);
    const said = machine.run("/root/gantry/install.sh --uninstall");
    assert.equal(said.code, 1);
    assert.match(said.out, /default held/);
    assert.match(said.err, /containers are running\n {2}next: /);
    assert.match(machine.run("ctr tasks ls").out, /held\s+\d+\s+RUNNING/);
  });

  test("forced, it removes everything it installed", () => {
    const said = machine.run("/root/gantry/install.sh --uninstall --force --purge");
    assert.equal(said.code, 0, said.out + said.err);
    assert.equal(machine.run(LISTING).out, fresh);
    assert.equal(
      machine.run("ls -l /proc/[0-9]*/exe 2>/dev/null | grep gantry").out,
      "",
      "no process is left",
    );
    assert.equal(
      machine.run("grep -E '/(run|var/lib)/containerd/' /proc/self/mounts").out,
      "",
      "no mount is left",
    );
    assert.notEqual(machine.run("systemctl status containerd").code, 0);
  });

  test("without systemd it starts in the background and stops again", () => {
    // The folder by which systemd tells that it is there is hidden; the transient service keeps the daemon until its end.
    const script = `mount -t tmpfs none /run/systemd && ${INSTALL} && ctr version && ${INSTALL} && /root/gantry/install.sh --uninstall --purge`;
    const said = machine.run(`unshare -m bash -c '${script}'`);
    assert.equal(said.code, 0, said.out + said.err);
    assert.match(said.out, /in the background/);
    assert.equal(said.out.match(/Your container engine works/g)?.length, 2);
    assert.equal(machine.run(LISTING).out, fresh);
  });
});

/** Makes the release, or takes the one that was given, and unpacks it. */
function unpackRelease(to: string): void {
  let tarball = process.env["GANTRY_TEST_RELEASE"];
  if (tarball === undefined) {
    execFileSync(process.execPath, [join(ROOT, "scripts/release.ts")], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const name = readdirSync(join(ROOT, "dist")).find((file) =>
      /^gantry-.*-linux-(amd64|arm64)\.tar\.gz$/.test(file),
    );
    if (name === undefined) throw new Error("make a release: scripts/release.ts left no tarball in dist");
    tarball = join(ROOT, "dist", name);
  }
  mkdirSync(to);
  execFileSync("tar", ["-xzf", tarball, "-C", to]);
}
