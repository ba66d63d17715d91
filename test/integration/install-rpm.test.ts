/**
 * install.sh on the RPM family. There is no such machine here: it runs in a chroot over this machine's own root, with the
 * distribution's /etc/os-release, without apt and without the packages it needs, and with a dnf or yum that notes what it is
 * asked and lays down what those packages would. Needs root and overlayfs.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import type { Said } from "../peers/peer.ts";

const ROOT = join(import.meta.dirname, "../..");
const NEEDED = "runc iptables containernetworking-plugins";
const ARCH = process.arch === "x64" ? "x86_64" : "aarch64";

/** What is different from one distribution to the next, as far as the script could notice. */
const DISTRIBUTIONS = [
  { name: "centos-7", release: 'NAME="CentOS Linux"\nID="centos"\nVERSION_ID="7"\n', tool: "yum" },
  { name: "centos-9", release: 'NAME="CentOS Stream"\nID="centos"\nVERSION_ID="9"\n', tool: "dnf" },
  { name: "rhel-9", release: 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nVERSION_ID="9.4"\n', tool: "dnf" },
  { name: "rocky-8", release: 'NAME="Rocky Linux"\nID="rocky"\nVERSION_ID="8.10"\n', tool: "dnf" },
  { name: "fedora-41", release: 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=41\n', tool: "dnf" },
  { name: "openeuler-24", release: 'NAME="openEuler"\nID="openEuler"\nVERSION_ID="24.03"\n', tool: "dnf" },
] as const;

/** The package manager: notes its arguments, then does as the packages would. */
const TOOL = `#!/bin/sh
printf '%s' "\${0##*/}" >> /calls; printf ' %s' "$@" >> /calls; echo >> /calls
[ ! -e /refuse ] || { cat /refuse; exit 1; }
mkdir -p /usr/libexec/cni
printf '#!/bin/sh\\necho "runc version RUNC"\\n' > /usr/bin/runc
printf '#!/bin/sh\\n' > /usr/libexec/cni/bridge
printf '#!/bin/sh\\n' > /usr/sbin/iptables
chmod 755 /usr/bin/runc /usr/libexec/cni/bridge /usr/sbin/iptables
`;
/** rpm knows runc as a package; its changelog is a file. */
const RPM = `#!/bin/sh
case "$*" in
  -qf*/usr/bin/runc) echo runc ;;
  "-q --changelog runc") cat /changelog ;;
  *) exit 1 ;;
esac
`;

interface Machine {
  readonly dir: string;
  put(path: string, text: string, mode?: number): void;
  get(path: string): string;
  install(...args: string[]): Said;
}

describe("install.sh on the RPM family", { skip: process.geteuid?.() === 0 ? false : "needs root" }, () => {
  const work = mkdtempSync(join(tmpdir(), "gantry-rpm-"));
  after(() => rmSync(work, { recursive: true, force: true }));
  let count = 0;

  function machine(release: string, tool: string, runc = "1.3.3"): Machine {
    const dir = join(work, String(count++));
    for (const part of ["upper", "work", "merged"]) mkdirSync(join(dir, part), { recursive: true });
    const put = (path: string, text: string, mode = 0o644): void => {
      mkdirSync(dirname(join(dir, "upper", path)), { recursive: true });
      writeFileSync(join(dir, "upper", path), text);
      chmodSync(join(dir, "upper", path), mode);
    };
    put("etc/os-release", release);
    put(`opt/tools/${tool}`, TOOL.replace("RUNC", runc), 0o755);
    put("opt/tools/rpm", RPM, 0o755);
    put("changelog", "- nothing of note\n");
    for (const [file, path] of Object.entries(RELEASE)) {
      mkdirSync(dirname(join(dir, "upper/release", path)), { recursive: true });
      cpSync(join(ROOT, file), join(dir, "upper/release", path));
    }
    put("release/bin/gantry", "#!/bin/sh\necho gantry 9.9.9\n", 0o755);
    return {
      dir,
      put,
      get: (path) => readFileSync(join(dir, "upper", path), "utf8"),
      install(...args) {
        const script = `set -e
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=/,upperdir=${dir}/upper,workdir=${dir}/work ${dir}/merged
for p in apt-get apt dpkg dpkg-query dnf yum rpm runc iptables; do
  for d in bin sbin usr/bin usr/sbin usr/local/bin usr/local/sbin; do
    rm -f ${dir}/merged/$d/$p
  done
done
rm -rf ${dir}/merged/usr/lib/cni ${dir}/merged/usr/libexec/cni ${dir}/merged/opt/cni ${dir}/merged/usr/local/share/gantry
rm -rf ${dir}/merged/etc/containerd ${dir}/merged/etc/cni ${dir}/merged/etc/crictl.yaml ${dir}/merged/usr/local/bin/gantry
rm -f ${dir}/merged/etc/systemd/system/containerd.service
for n in containerd ctr crictl containerd-shim-runc-v2; do rm -f ${dir}/merged/usr/local/bin/$n; done
mount -t proc proc ${dir}/merged/proc
exec chroot ${dir}/merged env PATH=/opt/tools:/usr/sbin:/usr/bin:/sbin:/bin /bin/sh /release/install.sh --no-start "$@"`;
        const done = spawnSync("unshare", ["-m", "sh", "-c", script, "sh", ...args], {
          encoding: "utf8",
          timeout: 60_000,
        });
        return { code: done.status ?? 128, out: done.stdout, err: done.stderr };
      },
    };
  }

  for (const { name, release, tool } of DISTRIBUTIONS) {
    test(`${name}: with the network ${tool} brings what is missing, and the layout is complete`, () => {
      const m = machine(release, tool);
      const said = m.install();
      assert.equal(said.code, 0, said.out + said.err);
      assert.equal(m.get("calls"), `${tool} -y install ${NEEDED}\n`);
      assert.match(said.out, /laid out and not started/);
      assert.doesNotMatch(said.err, /warning: runc/);
      assert.match(
        m.get("etc/systemd/system/containerd.service"),
        /^ExecStart=\/usr\/local\/bin\/containerd$/m,
      );
    });
  }

  test("without the network: only what is cached, or the folder's packages of this machine", () => {
    const { release, tool } = DISTRIBUTIONS[1];
    const cached = machine(release, tool);
    assert.equal(cached.install("--offline").code, 0);
    assert.equal(cached.get("calls"), `dnf -y -C install ${NEEDED}\n`);

    const folder = machine(release, tool);
    for (const file of [`runc-1.3.3.${ARCH}.rpm`, "plugins-1.noarch.rpm", "runc-1.3.3.s390x.rpm", "runc.deb"])
      folder.put(`pkgs/${file}`, "");
    assert.equal(folder.install("--offline", "--packages", "/pkgs").code, 0);
    assert.equal(
      folder.get("calls"),
      `dnf -y install --disablerepo=* /pkgs/runc-1.3.3.${ARCH}.rpm /pkgs/plugins-1.noarch.rpm\n`,
    );

    // beside the script, as a release for machines without a network has them
    const beside = machine(release, tool);
    beside.put(`release/packages/runc-1.3.3.${ARCH}.rpm`, "");
    assert.equal(beside.install("--offline").code, 0);
    assert.equal(
      beside.get("calls"),
      `dnf -y install --disablerepo=* /release/packages/runc-1.3.3.${ARCH}.rpm\n`,
    );

    const debs = machine(release, tool);
    debs.put("pkgs/runc.deb", "");
    assert.equal(debs.install("--packages", "/pkgs").code, 0);
    assert.equal(debs.get("calls"), `dnf -y install ${NEEDED}\n`);
  });

  test("a distribution that dropped the packages, and a mirror that is away, get their own next step", () => {
    const { release, tool } = DISTRIBUTIONS[2];
    const dropped = machine(release, tool);
    dropped.put("refuse", "No match for argument: runc\nError: Unable to find a match: runc\n");
    const said = dropped.install();
    assert.equal(said.code, 1);
    assert.match(said.err, /No match for argument: runc/);
    assert.match(said.err, /has no package for one of: runc .*\n {2}next: RHEL 10 .*\/opt\/cni\/bin/);
    const away = machine(release, tool);
    away.put("refuse", "Error: Failed to download metadata for repo 'appstream'\n");
    assert.match(away.install().err, /could not install runc .*\n {2}next: .*--offline --packages DIR/);
    assert.match(away.install("--offline").err, /without the network\n {2}next: .*\.rpm files/);
  });

  test("an old runc of a package is judged by the package's changelog", () => {
    const { release, tool } = DISTRIBUTIONS[3];
    const old = machine(release, tool, "1.1.4");
    const said = old.install();
    assert.equal(said.code, 0, said.err);
    assert.match(
      said.err,
      /runc 1\.1\.4 lets a container reach the host \(CVE-2024-21626\); fix: dnf upgrade runc/,
    );
    const repaired = machine(release, tool, "1.1.4");
    repaired.put("changelog", "- fix CVE-2024-21626\n");
    assert.doesNotMatch(repaired.install().err, /CVE/);
  });
});

/** Files of a release by their place in the checkout. */
const RELEASE: Readonly<Record<string, string>> = {
  "packaging/containerd.service": "etc/systemd/system/containerd.service",
  "packaging/config.toml": "etc/containerd/config.toml",
  "packaging/crictl.yaml": "etc/crictl.yaml",
  "packaging/10-containerd-net.conflist": "etc/cni/net.d/10-containerd-net.conflist",
  "install.sh": "install.sh",
};
