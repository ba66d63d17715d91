/**
 * The user's documents on using the engine (features.md 1b to 1e), command by command as they write them, on a real daemon with pods
 * and a CNI bridge. A registry on loopback stands for the public one, as a mirror; `ll` is `ls -l`. Needs root.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { builtinArchive } from "../../src/oci/builtin/images.ts";
import { type CriPeer, startCri } from "../peers/cri-peer.ts";
import type { Said } from "../peers/peer.ts";
import { until } from "./client.ts";
import { ourBin } from "./program.ts";
import { dockerSave, pushWeb, WEB_PAGE, writeSharedBase, writeWebLayout } from "./web-image.ts";

const NGINX = "docker.io/library/nginx:1.21.6";

describe("the user's documents: using", { skip: process.getuid?.() !== 0, timeout: 240_000 }, () => {
  const work = mkdtempSync(join(tmpdir(), "gantry-documents-"));
  let peer: CriPeer;
  let started: CriPeer | undefined;
  let registry: ChildProcess | undefined;
  const sh = (command: string): Said =>
    peer.run("bash", ["-c", `cd ${work} && ${command}`], {
      env: {
        PATH: `${ourBin()}:${process.env["PATH"]}`,
        CONTAINERD_ADDRESS: peer.address,
        CONTAINER_RUNTIME_ENDPOINT: `unix://${peer.address}`,
        IMAGE_SERVICE_ENDPOINT: `unix://${peer.address}`,
      },
    });
  const ok = (command: string): string => {
    const said = sh(command);
    assert.equal(said.code, 0, `${command}: ${said.err}${said.out}`);
    return said.out;
  };

  before(async () => {
    writeWebLayout(join(work, "web"));
    writeSharedBase(join(work, "shared.tar"));
    dockerSave(join(work, "web"), join(work, "nginx-1.21.6.tar"), "nginx:1.21.6");
    started = await startCri({
      program: `${ourBin()}/containerd`,
      args: [],
      path: ourBin(),
      ctr: `${ourBin()}/ctr`,
      pause: await builtinArchive("pause"),
      more: (dir) => {
        mkdirSync(join(dir, "certs.d/docker.io"), { recursive: true });
        writeFileSync(
          join(dir, "certs.d/docker.io/hosts.toml"),
          'server = "https://docker.io"\n[host."http://127.0.0.1:5000"]\ncapabilities = ["pull", "resolve"]\n',
        );
        return `[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "${dir}/certs.d"\n`;
      },
    });
    peer = started;
    registry = await startLabRegistry();
    writeFileSync(
      join(work, "pod.yaml"),
      `metadata: {name: web, namespace: default, uid: u1}\nlog_directory: ${work}/logs\nlinux: {cgroup_parent: /gantry-${peer.tag}}\n`,
    );
    writeFileSync(
      join(work, "container.yaml"),
      `metadata: {name: app}\nimage: {image: "${NGINX}"}\nlog_path: app.log\nstdin: true\ncommand: [sh, -c, "echo serving; exec httpd -f -p 80 -h /www"]\n`,
    );
  });
  after(async () => {
    if (started !== undefined) sh("crictl -t 60s rmp -af");
    registry?.kill("SIGKILL");
    await started?.stop();
    rmSync(work, { recursive: true, force: true });
  });

  test("1b: an archive of docker save goes into k8s.io and out again (001-1, 001-4, 001-5, 001-12, 001-14)", () => {
    ok("ctr -n k8s.io images import nginx-1.21.6.tar");
    assert.match(ok("ctr namespace ls"), /^NAME +LABELS *\n[\s\S]*^k8s\.io *$/m);
    assert.match(
      ok("ctr -n k8s.io images ls|grep nginx"),
      /^docker\.io\/library\/nginx:1\.21\.6 +application\/vnd\.docker\.distribution\.manifest\.v2\+json sha256:\w{64} [\d.]+ MiB linux\/amd64 io\.cri-containerd\.image=managed *$/m,
    );
    ok("rm nginx-1.21.6.tar");
    ok(`ctr -n k8s.io images export nginx-1.21.6.tar  ${NGINX}`);
    assert.match(ok("ls -lh nginx-1.21.6.tar"), /^-rw-r--r--/);
    // docker load reads this file and nothing else; its daemon itself is in test/parity/interop.test.ts
    const manifest = JSON.parse(ok("tar xOf nginx-1.21.6.tar manifest.json")) as [
      { RepoTags: string[]; Layers: string[] },
    ];
    assert.deepEqual(manifest[0].RepoTags, ["nginx:1.21.6"]);
    for (const layer of manifest[0].Layers) ok(`tar tf nginx-1.21.6.tar ${layer}`);
    ok("skopeo --insecure-policy copy -q docker-archive:nginx-1.21.6.tar:nginx:1.21.6 oci:loaded:nginx");
  });

  test("1b: rmi as written, help of pull and push, namespaces keep images apart (001-1, 001-2, 001-11)", () => {
    assert.equal(ok(`ctr -n k8s.io delete ${NGINX}`), `${NGINX}\n`);
    assert.doesNotMatch(ok("ctr -n k8s.io images ls -q"), /nginx:/);
    const bare = sh("ctr -n k8s.io delete");
    assert.deepEqual([bare.code, /usage: ctr delete/.test(bare.err)], [1, true]);
    assert.match(ok("ctr -n k8s.io images pull -h"), /^Usage: ctr images pull \[options\] <ref>$/m);
    assert.match(
      ok("ctr -n k8s.io images push -h"),
      /^Usage: ctr images push \[options\] <remote> \[local\]$/m,
    );
    ok("ctr -n k8s.io images import nginx-1.21.6.tar");
    assert.doesNotMatch(ok("ctr images ls -q"), /nginx/, "the default namespace has none");
    ok(`ctr -n k8s.io images rm --sync ${NGINX}`);
  });

  test("1b: rows of an image that the CRI pulled (001-13), inspecti (001-3)", () => {
    ok(`crictl pull ${NGINX}`);
    const rows = ok("ctr -n k8s.io images ls|grep nginx").trimEnd().split("\n");
    const end =
      / +application\/vnd\.docker\.distribution\.manifest\.list\.v2\+json (sha256:\w{64}) [\d.]+ MiB linux\/amd64,linux\/arm64\/v8 io\.cri-containerd\.image=managed *$/;
    assert.equal(rows.length, 2, rows.join("\n"));
    const digest = end.exec(rows[0] ?? "")?.[1] ?? "none";
    assert.ok(rows[0]?.startsWith(`${NGINX} `));
    assert.ok(rows[1]?.startsWith(`docker.io/library/nginx@${digest} `) && end.test(rows[1]));
    const id = ok("crictl images -q docker.io/library/nginx").trim();
    const facts = JSON.parse(ok(`crictl inspecti ${id}`)) as { status: { repoTags: string[] } };
    assert.deepEqual(facts.status.repoTags, [NGINX]);
  });

  test("1b, 1d: a pod and a container by every crictl command that is named (001-6 to 001-8, 003-9, 003-10)", async () => {
    const pod = ok("crictl runp pod.yaml").trim();
    const id = ok(`crictl create ${pod} container.yaml pod.yaml`).trim();
    assert.match(ok("crictl ps -a"), new RegExp(`^${id.slice(0, 13)} .* Created +app `, "m"));
    ok(`crictl start ${id}`);
    assert.match(ok("crictl ps"), new RegExp(`^${id.slice(0, 13)} .* Running +app `, "m"));
    assert.match(ok("crictl pods"), new RegExp(`^${pod.slice(0, 13)} .* Ready +web +default `, "m"));
    assert.match(ok(`crictl inspect ${id}`), /"state": "CONTAINER_RUNNING"/);
    assert.match(ok(`crictl inspectp ${pod}`), /"state": "SANDBOX_READY"/);
    assert.equal(ok(`crictl exec ${id} cat /www/index.html`), WEB_PAGE);
    await until("its log", () => ok(`crictl logs ${id}`) === "serving\n");
    assert.match(ok("crictl stats"), new RegExp(`^${id.slice(0, 13)} +app +[\\d.]+ +\\S+B `, "m"));
    const attached = sh(`timeout 1 crictl attach ${id} < /dev/null; [ $? -le 1 -o $? = 124 ]`);
    assert.equal(attached.code, 0, attached.err);
    const address = ok(`crictl inspectp -o go-template --template '{{.status.network.ip}}' ${pod}`).trim();
    assert.equal(ok(`curl -sS http://${address}/`), WEB_PAGE);
    // the same container by ctr, as the table has it
    assert.match(ok("ctr -n k8s.io task ls"), new RegExp(`^${id} +\\d+ +RUNNING`, "m"));
    assert.match(ok("ctr -n k8s.io container ls"), new RegExp(`^${id} `, "m"));
    assert.match(ok(`ctr -n k8s.io container info ${id}`), new RegExp(`"ID": "${id}"`));
    ok(`crictl stop -t 1 ${id}`);
    ok(`crictl rm ${id}`);
    ok(`crictl stopp ${pod}`);
    ok(`crictl rmp ${pod}`);
    assert.equal(ok("crictl pods -q") + ok("crictl ps -aq"), "");
    ok(`crictl rmi ${NGINX}`);
    assert.doesNotMatch(ok("crictl images"), /nginx/);
  });

  test("1d: the table of ctr's commands (003-9, 003-10)", () => {
    const ref = "docker.io/library/nginx:alpine";
    ok(`ctr image pull ${ref}`);
    assert.match(ok("ctr image ls"), /nginx:alpine/);
    ok(`ctr image tag ${ref} 127.0.0.1:5000/mine/nginx:1`);
    ok("ctr image push --platform linux/amd64 --plain-http 127.0.0.1:5000/mine/nginx:1");
    assert.match(ok("curl -sS http://127.0.0.1:5000/v2/mine/nginx/tags/list"), /"tags":\["1"\]/);
    ok("ctr image export x.tar 127.0.0.1:5000/mine/nginx:1");
    ok("ctr image rm 127.0.0.1:5000/mine/nginx:1");
    assert.match(
      ok("ctr image import x.tar"),
      /^unpacking 127\.0\.0\.1:5000\/mine\/nginx:1 \(sha256:\w+\)\.\.\.done$/m,
    );
    ok(`ctr container create ${ref} made`);
    ok("ctr task start -d made");
    assert.match(ok("ctr task ls"), /^made +\d+ +RUNNING *$/m);
    assert.match(ok("ctr container info made"), /"Image": "docker\.io\/library\/nginx:alpine"/);
    ok("ctr task kill -s KILL made");
    ok("ctr task rm made; ctr container rm made");
    assert.equal(ok(`ctr run --rm ${ref} once echo hi`), "hi\n");
    ok(`ctr image rm ${ref} 127.0.0.1:5000/mine/nginx:1`);
    assert.equal(ok("ctr container ls -q") + ok("ctr task ls -q") + ok("ctr image ls -q"), "");
  });

  test("1c: what an image and a container hold, and what is freed when they go (002-5, 002-6)", () => {
    const names = (): string[] => ok("ctr images ls -q").trim().split("\n");
    const count = (command: string): number => ok(command).trim().split("\n").filter(Boolean).length;
    const snapshots = (): number => count("ctr snapshots ls | tail -n +2");
    const blobs = (): number => count("ctr content ls -q");
    // what the tests before removed goes in its own time
    ok("id=$(ctr leases create) && ctr leases rm --sync $id");
    ok("ctr images import shared.tar");
    assert.deepEqual(names(), ["reg.test/alpine:latest", "reg.test/redis:latest"]);
    // two manifests, two configs, the shared layer and redis's own (and the archive's index of either)
    assert.equal(snapshots(), 2);
    const both = blobs();
    ok("ctr run -d reg.test/redis:latest redis");
    assert.equal(snapshots(), 3);
    ok("ctr images rm --sync reg.test/redis:latest");
    const alpine = blobs();
    assert.ok(alpine < both, "manifest, config and layer that redis alone used");
    assert.equal(snapshots(), 3, "the container still uses them");
    ok("ctr tasks kill -s KILL redis; ctr tasks rm redis; ctr containers rm redis");
    ok("id=$(ctr leases create) && ctr leases rm --sync $id");
    assert.equal(snapshots(), 1, "what alpine needs");
    assert.equal(blobs(), alpine);
    ok("ctr images rm --sync reg.test/alpine:latest");
    assert.equal(snapshots() + blobs(), 0);
  });

  test("1d: cnitool's ids, environment and output (003-7, 003-8)", () => {
    const network = `test-${peer.tag}`;
    const netns = "/var/run/netns/byhand";
    ok(`mkdir -p /var/run/netns && ip netns add byhand`);
    const env = `NETCONFPATH=${peer.dir}/cni CNI_PATH=/usr/lib/cni`;
    const gantry = join(ourBin(), "../gantry");
    const result = JSON.parse(ok(`${env} ${gantry} cni add ${network} ${netns}`)) as {
      ips: { address: string }[];
      interfaces: { name: string; sandbox?: string }[];
    };
    assert.match(result.ips[0]?.address ?? "", /^10\.91\.0\.\d+\/24$/);
    assert.ok(result.interfaces.some((i) => i.name === "eth0" && i.sandbox === netns));
    // the plugin that gives addresses writes down for whom
    const id = `cnitool-${createHash("sha512").update(netns).digest("hex").slice(0, 20)}`;
    const address = result.ips[0]?.address.split("/")[0] ?? "";
    assert.equal(ok(`head -1 ${peer.dir}/ipam/${network}/${address}`).trim(), id);
    ok(`${env} ${gantry} cni check ${network} ${netns}`);
    ok(`${env} ${gantry} cni del ${network} ${netns}`);
    assert.equal(ok("ip netns exec byhand ip -o link | grep -vc ': lo:' || true").trim(), "0");
    ok(`${env} CNI_IFNAME=net7 ${gantry} cni add ${network} ${netns} | grep -q net7`);
    ok(`${env} CNI_IFNAME=net7 ${gantry} cni del ${network} ${netns}`);
    ok("ip netns del byhand");
  });

  test("1e: every command and flag in the help of ctr (004-10, 004-11)", () => {
    const help = ok("ctr --help");
    for (const word of [
      "unsupported debug and administrative client",
      "--debug",
      "--timeout",
      "--connect-timeout",
    ])
      assert.ok(help.replaceAll(/\s+/g, " ").includes(word), word);
    assert.match(
      help,
      /-a, --address .*\(default: "\/run\/containerd\/containerd\.sock", env: CONTAINERD_ADDRESS\)/,
    );
    assert.match(help, /-n, --namespace .*\(default: "default", env: CONTAINERD_NAMESPACE\)/);
    assert.match(help, /-v, --version[\s\S]*-h, --help/);
    const words =
      "plugins plugin version containers c container content events event images image i leases namespaces namespace ns pprof run snapshots snapshot tasks t task install oci shim";
    ok(`for word in ${words}; do ctr $word --help > /dev/null || { echo $word; exit 1; }; done`);
    assert.equal(ok("ctr help"), help);
    assert.equal(ok("ctr h"), help);
    assert.match(ok("ctr -v"), /^ctr /);
  });

  async function startLabRegistry(): Promise<ChildProcess> {
    writeFileSync(
      join(work, "registry.yml"),
      `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: ${work}/registry}}
http: {addr: "127.0.0.1:5000", relativeurls: true}
`,
    );
    const [program, ...args] = peer.wrap("docker-registry", ["serve", join(work, "registry.yml")]);
    const child = spawn(program, args, {
      env: { ...process.env, OTEL_TRACES_EXPORTER: "none" },
      stdio: "ignore",
    });
    await until("the registry", () => sh("exec 3<>/dev/tcp/127.0.0.1/5000").code === 0);
    for (const tag of ["1.21.6", "alpine"])
      pushWeb(join(work, "web"), "127.0.0.1:5000", `library/nginx:${tag}`, (...line) => peer.wrap(...line));
    return child;
  }
});
