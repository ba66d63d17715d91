/** CRI's ImageService on a real daemon (run from source) against a registry in this process. Needs root (layers are unpacked). */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ImageService } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { createClient } from "../../src/rpc/client.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import type { Client, Transport } from "../../src/rpc/types.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { tarDirectory, tarEnd, tarFile, tarPadding } from "../fakes/tar-blocks.ts";
import { until } from "./client.ts";
import { BUN, MAIN } from "./program.ts";

function layer(size: number): Uint8Array {
  const data = randomBytes(size);
  return Buffer.concat([
    tarDirectory("d"),
    tarFile("d/f", BigInt(size)),
    data,
    tarPadding(BigInt(size)),
    tarEnd(),
  ]);
}

/** A daemon with CRI. */
class Daemon {
  readonly dir = mkdtempSync(join(tmpdir(), "gantry-cri-images-"));
  readonly address = join(this.dir, "c.sock");
  #child: ChildProcess | undefined;
  #transport: Transport | undefined;

  constructor(config: string) {
    const lines = [
      "version = 4",
      `root = "${this.dir}/root"`,
      `state = "${this.dir}/state"`,
      '[plugins."io.containerd.server.v1.grpc"]',
      `address = "${this.address}"`,
      '[plugins."io.containerd.nri.v1.nri"]',
      "disable = true",
      '[plugins."io.containerd.snapshotter.v1.overlayfs"]',
      `root_path = "${this.dir}/layers"`,
      '[plugins."io.containerd.cri.v1.images"]',
      config,
    ];
    writeFileSync(join(this.dir, "config.toml"), lines.join("\n"));
  }

  get images(): Client<typeof ImageService> {
    if (this.#transport === undefined) throw new Error("the daemon does not run");
    return createClient(ImageService, this.#transport);
  }

  async start(): Promise<void> {
    const log = openSync(join(this.dir, "log"), "a");
    const child = spawn(BUN, [MAIN, "daemon", "-c", join(this.dir, "config.toml")], {
      stdio: ["ignore", log, log],
    });
    this.#child = child;
    this.#transport = createGrpcTransport({ path: this.address });
    await until("the daemon answers", async () => {
      if (child.exitCode !== null) throw new Error(readFileSync(join(this.dir, "log"), "utf8").slice(-2000));
      return await this.images.listImages({}, { timeoutMs: 1_000 }).then(
        () => true,
        () => false,
      );
    });
  }

  async stop(): Promise<void> {
    await this.#transport?.close();
    if (this.#child !== undefined && this.#child.exitCode === null) {
      this.#child.kill("SIGTERM");
      await once(this.#child, "exit");
    }
  }

  /** Our ctr in CRI's namespace, without blocking: the registry lives in this process. */
  async ctr(...args: string[]): Promise<string> {
    const child = spawn(BUN, [MAIN, "ctr", "-a", this.address, "-n", "k8s.io", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => {
      out += String(data);
    });
    child.stderr.on("data", (data) => {
      err += String(data);
    });
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) throw new Error(`ctr ${args.join(" ")}: ${err}`);
    return out;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

describe("ImageService", { skip: process.getuid?.() !== 0 }, () => {
  let fake: FakeRegistry;
  let daemon: Daemon;
  const size = 5_000;

  before(async () => {
    fake = await FakeRegistry.start();
    daemon = new Daemon(`pinned_images = { sandbox = "${fake.host}/team/pinned:v1" }`);
    await daemon.start();
  });
  after(async () => {
    await daemon[Symbol.asyncDispose]();
    await fake.stop();
  });

  const status = async (image: string) => (await daemon.images.imageStatus({ image: { image } })).image;
  const names = async (): Promise<string[]> => {
    const { images } = await daemon.images.listImages({});
    return images.flatMap((i) => [...i.repoTags, ...i.repoDigests]).sort();
  };

  test("a pull: id, tags, digests, size; found by every name; removed with all of them", async () => {
    const made = fake.addImage("team/app", "v1", [layer(size), layer(size)]);
    const tag = `${fake.host}/team/app:v1`;
    const { imageRef } = await daemon.images.pullImage({ image: { image: tag } });
    assert.equal(imageRef, made.config);
    const image = await status(tag);
    assert.deepEqual(image?.repoTags, [tag]);
    assert.deepEqual(image?.repoDigests, [`${fake.host}/team/app@${made.digest}`]);
    assert.equal(image?.pinned, false);
    const stored = [made.config, ...made.layers].reduce(
      (sum, d) => sum + (fake.blobs.get(d)?.length ?? 0),
      0,
    );
    const manifest = fake.manifests.get("team/app:v1")?.bytes.length ?? 0;
    assert.equal(image?.size, BigInt(stored + manifest));
    const short = made.config.slice("sha256:".length, "sha256:".length + 12);
    for (const name of [
      made.config,
      short,
      `sha256:${short}`,
      `${tag}@${made.digest}`,
      image?.repoDigests[0] ?? "",
    ])
      assert.equal((await status(name))?.id, made.config, name);
    const { info } = await daemon.images.imageStatus({ image: { image: tag }, verbose: true });
    const told = JSON.parse(info["info"] ?? "") as {
      chainID: string;
      imageSpec: { rootfs: { diff_ids: string[] } };
    };
    assert.deepEqual(told.imageSpec.rootfs.diff_ids, made.layers);
    assert.match(told.chainID, /^sha256:/);
    const { imageFilesystems } = await daemon.images.imageFsInfo({});
    // where the snapshotter keeps them: the kubelet looks at that disk
    assert.equal(imageFilesystems[0]?.fsId?.mountpoint, join(daemon.dir, "layers"));
    assert.ok((imageFilesystems[0]?.usedBytes?.value ?? 0n) > BigInt(2 * size));

    await daemon.images.removeImage({ image: { image: short } });
    assert.equal(await status(tag), undefined);
    assert.doesNotMatch(await daemon.ctr("images", "ls", "-q"), /team\/app/);
    // the last record went with a collection: nothing of it is left
    assert.doesNotMatch(await daemon.ctr("content", "ls", "-q"), new RegExp(made.layers[0] ?? "?"));
    await daemon.images.removeImage({ image: { image: tag } });
  });

  test("pull by digest: no tag; two tags of one image are one image", async () => {
    const made = fake.addImage("team/twice", "v1", [layer(size)]);
    fake.addManifest("team/twice", "v2", fake.manifests.get("team/twice:v1")?.bytes);
    const byDigest = `${fake.host}/team/twice@${made.digest}`;
    await daemon.images.pullImage({ image: { image: byDigest } });
    assert.deepEqual((await status(byDigest))?.repoTags, []);
    for (const v of ["v1", "v2"])
      await daemon.images.pullImage({ image: { image: `${fake.host}/team/twice:${v}` } });
    const image = await status(made.config);
    assert.deepEqual(image?.repoTags, [`${fake.host}/team/twice:v1`, `${fake.host}/team/twice:v2`]);
    assert.deepEqual(image?.repoDigests, [byDigest]);
    const filtered = await daemon.images.listImages({
      filter: { image: { image: `${fake.host}/team/twice` } },
    });
    assert.deepEqual(
      filtered.images.map((i) => i.id),
      [made.config],
    );
    const none = await daemon.images.listImages({ filter: { image: { image: "nobody/nothing" } } });
    assert.deepEqual(none.images, []);
    await daemon.images.removeImage({ image: { image: made.config } });
  });

  test("images of other clients come and go", async () => {
    const made = fake.addImage("team/other", "v1", [layer(size)]);
    const tag = `${fake.host}/team/other:v1`;
    await daemon.ctr("images", "pull", tag);
    await until("CRI sees it", async () => (await status(tag)) !== undefined);
    assert.equal((await status(made.config))?.id, made.config);
    assert.match(await daemon.ctr("images", "ls"), /io\.cri-containerd\.image=managed/);
    const moved = fake.addImage("team/other", "v1", [layer(size)]);
    await daemon.ctr("images", "pull", tag);
    await until("the tag moves", async () => (await status(tag))?.id === moved.config);
    await daemon.ctr("images", "rm", tag, made.config, moved.config);
    await until("it is gone", async () => !(await names()).includes(tag));
  });

  test("pinned images; everything is there again after a restart; streams", async () => {
    fake.addImage("team/pinned", "v1", [layer(size)]);
    const tag = `${fake.host}/team/pinned:v1`;
    await daemon.images.pullImage({ image: { image: tag } });
    assert.equal((await status(tag))?.pinned, true);
    const list = await names();
    await daemon.stop();
    await daemon.start();
    assert.deepEqual(await names(), list);
    assert.equal((await status(tag))?.pinned, true);
    const streamed: string[] = [];
    for await (const { images } of daemon.images.streamImages({}))
      streamed.push(...images.flatMap((i) => [...i.repoTags, ...i.repoDigests]));
    assert.deepEqual(streamed.sort(), list);
    await daemon.images.removeImage({ image: { image: tag } });
  });

  test("credentials of every kind; those for another server stay here", async () => {
    fake.addImage("team/secret", "v1", [layer(size)]);
    const image = { image: `${fake.host}/team/secret:v1` };
    const [username, password] = ["user", "pass:word"];
    const auth = Buffer.from(`${username}:${password}`).toString("base64");
    const pull = async (
      credentials: Parameters<typeof daemon.images.pullImage>[0]["auth"],
    ): Promise<void> => {
      await daemon.images.pullImage({ image, auth: credentials });
      await daemon.images.removeImage({ image });
    };
    try {
      fake.auth = { kind: "basic", username, password };
      await pull({ username, password });
      await pull({ auth });
      await pull({ auth, serverAddress: `http://${fake.host}/v2/` });
      await assert.rejects(pull({ username, password: "wrong" }), (err: unknown) => {
        assert.doesNotMatch(messageOf(err), /wrong/);
        return true;
      });
      await assert.rejects(pull(undefined));
      fake.seen.length = 0;
      await assert.rejects(pull({ auth, serverAddress: "other.test" }));
      assert.ok(fake.seen.length > 0 && fake.seen.every((s) => s.headers.authorization === undefined));
      fake.auth = { kind: "bearer", username, password, refreshToken: "refresh-me" };
      await pull({ username, password });
      await pull({ identityToken: "refresh-me" });
      fake.tokens.add("registry-token");
      await pull({ registryToken: "registry-token" });
    } finally {
      fake.auth = undefined;
    }
  });

  test("an artifact is pulled, listed and removed as images are", async () => {
    const empty = new TextEncoder().encode("{}");
    const file = new TextEncoder().encode("weights");
    const config = fake.addBlob(empty);
    const digest = fake.addManifest("team/model", "v1", {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      artifactType: "application/vnd.test.model",
      config: { mediaType: "application/vnd.oci.empty.v1+json", digest: config, size: empty.length },
      layers: [
        {
          mediaType: "application/octet-stream",
          digest: fake.addBlob(file),
          size: file.length,
          annotations: { "org.opencontainers.image.title": "model.bin" },
        },
      ],
    });
    const tag = `${fake.host}/team/model:v1`;
    const { imageRef } = await daemon.images.pullImage({ image: { image: tag } });
    // not the digest of the config, which other artifacts have, too
    assert.equal(imageRef, digest);
    const image = await status(tag);
    assert.deepEqual(image?.repoDigests, [`${fake.host}/team/model@${digest}`]);
    assert.equal(image?.username, "");
    const { info } = await daemon.images.imageStatus({ image: { image: tag }, verbose: true });
    assert.deepEqual(JSON.parse(info["info"] ?? ""), { chainID: "", imageSpec: {} });
    await daemon.images.removeImage({ image: { image: tag } });
    assert.equal(await status(tag), undefined);
  });

  test("what cannot be: errors say which image", async () => {
    await assert.rejects(
      daemon.images.pullImage({ image: { image: "" } }),
      (e) => codeOf(e) === "invalid-argument",
    );
    await assert.rejects(daemon.images.pullImage({ image: { image: "team/UPPER" } }), /must be lowercase/);
    await assert.rejects(
      daemon.images.pullImage({ image: { image: `${fake.host}/team/none:v1` } }),
      (err: unknown) => {
        assert.equal(codeOf(err), "not-found");
        assert.match(messageOf(err), /failed to pull and unpack image ".*team\/none:v1"/);
        return true;
      },
    );
    assert.equal(await status("nobody/nothing"), undefined);
    await daemon.images.removeImage({ image: { image: "nobody/nothing" } });
  });
});

describe("ImageService, settings", { skip: process.getuid?.() !== 0 }, () => {
  test("a pull without progress is given up; what came stays for the next one", {
    timeout: 60_000,
  }, async () => {
    await using fake = await FakeRegistry.start();
    const made = fake.addImage("team/slow", "v1", [layer(900_000)]);
    fake.fail({ match: `GET /v2/team/slow/blobs/${made.layers[0]}`, stallAfter: 600_000 });
    await using daemon = new Daemon('image_pull_progress_timeout = "1s"');
    await daemon.start();
    const image = { image: `${fake.host}/team/slow:v1` };
    await assert.rejects(daemon.images.pullImage({ image }), /no progress in 1 s/);
    await until("its connections are closed", () => fake.connections === 0);
    await daemon.images.pullImage({ image });
  });

  test("registry headers; snapshot annotations; discarded layers; a limit of downloads", async () => {
    await using fake = await FakeRegistry.start();
    const made = fake.addImage(
      "team/app",
      "v1",
      [1, 2, 3, 4].map(() => layer(200_000)),
    );
    await using daemon = new Daemon(
      [
        "disable_snapshot_annotations = false",
        "discard_unpacked_layers = true",
        "max_concurrent_downloads = 1",
        "image_pull_with_sync_fs = true",
        '[plugins."io.containerd.cri.v1.images".registry.headers]',
        'X-Meta = ["one"]',
      ].join("\n"),
    );
    await daemon.start();
    const tag = `${fake.host}/team/app:v1`;
    await daemon.images.pullImage({ image: { image: tag } });
    assert.ok(fake.requests("/v2/team/app/").every((s) => s.headers["x-meta"] === "one"));
    const top = (await daemon.ctr("snapshots", "ls")).split("\n").at(1)?.split(/\s+/)[0] ?? "";
    assert.match(await daemon.ctr("snapshots", "info", top), /containerd\.io\/snapshot\/cri\.image-ref/);
    await until("the layers are collected", async () => {
      const blobs = await daemon.ctr("content", "ls", "-q");
      return made.layers.every((digest) => !blobs.includes(digest));
    });
    assert.equal((await daemon.images.imageStatus({ image: { image: tag } })).image?.id, made.config);
  });

  test("damaged records do not keep the others out", async () => {
    await using fake = await FakeRegistry.start();
    const good = fake.addImage("team/good", "v1", [layer(1000)]);
    const bad = fake.addImage("team/bad", "v1", [layer(2000)]);
    await using daemon = new Daemon("");
    await daemon.start();
    for (const name of ["good", "bad"])
      await daemon.images.pullImage({ image: { image: `${fake.host}/team/${name}:v1` } });
    await daemon.ctr("content", "rm", bad.config);
    await daemon.stop();
    await daemon.start();
    const { images } = await daemon.images.listImages({});
    assert.deepEqual(
      images.map((i) => i.id),
      [good.config],
    );
    // a pull heals it
    await daemon.images.pullImage({ image: { image: `${fake.host}/team/bad:v1` } });
    assert.equal((await daemon.images.listImages({})).images.length, 2);
  });
});
