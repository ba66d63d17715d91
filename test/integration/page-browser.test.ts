/** The status page in a real browser (Debian's chromium): what its script makes of a running container, and its plots. Needs root. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { peerCtr } from "../peers/peer.ts";
import { until } from "./client.ts";
import { BUN, MAIN } from "./program.ts";

const CHROMIUM = "/usr/bin/chromium";
const dir = mkdtempSync(join(tmpdir(), "gantry-page-"));

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A page in a headless browser, by its debugging protocol. */
async function openPage(address: string): Promise<{ html(): Promise<string> } & AsyncDisposable> {
  const flags = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--remote-debugging-port=0",
  ];
  const browser = spawn(CHROMIUM, [...flags, `--user-data-dir=${join(dir, "profile")}`, address], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  browser.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  await until("the browser", () => /DevTools listening on ws:\/\/[^/]+/.test(said), 60_000);
  const host = /DevTools listening on ws:\/\/([^/]+)/.exec(said)?.[1] ?? "";
  const targets = (await (await fetch(`http://${host}/json/list`)).json()) as {
    type: string;
    webSocketDebuggerUrl: string;
  }[];
  const socket = new WebSocket(targets.find((t) => t.type === "page")?.webSocketDebuggerUrl ?? "");
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = reject;
  });
  let last = 0;
  return {
    html: () =>
      new Promise((resolve) => {
        const id = ++last;
        const listen = (event: MessageEvent): void => {
          const answer = JSON.parse(String(event.data)) as {
            id: number;
            result?: { result?: { value?: string } };
          };
          if (answer.id !== id) return;
          socket.removeEventListener("message", listen);
          resolve(answer.result?.result?.value ?? "");
        };
        socket.addEventListener("message", listen);
        const params = { expression: "document.documentElement.outerHTML" };
        socket.send(JSON.stringify({ id, method: "Runtime.evaluate", params }));
      }),
    async [Symbol.asyncDispose]() {
      socket.close();
      const gone = new Promise((resolve) => browser.once("exit", resolve));
      browser.kill("SIGKILL");
      await gone;
    },
  };
}

describe("status page in a browser", { skip: process.getuid?.() !== 0 || !existsSync(CHROMIUM) }, () => {
  let child: ChildProcess;
  let url = "";
  const ctr = peerCtr("1.7", join(dir, "c.sock"));
  before(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}/`;
    writeFileSync(
      join(dir, "config.toml"),
      `version = 3
root = "${dir}/root"
state = "${dir}/state"
imports = []
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${dir}/c.sock"
[metrics]
  address = "127.0.0.1:${port}"
`,
    );
    const fd = openSync(join(dir, "log"), "a");
    child = spawn(BUN, [MAIN, "daemon", "-c", join(dir, "config.toml")], { stdio: ["ignore", fd, fd] });
    await until("the daemon", () => readFileSync(join(dir, "log"), "utf8").includes("successfully booted"));
    writeFileSync(join(dir, "pause.tar"), execFileSync(BUN, [MAIN, "builtin-image", "pause"]));
    assert.equal(ctr("images", "import", "--snapshotter", "native", join(dir, "pause.tar")).code, 0);
    assert.equal(
      ctr("run", "-d", "--snapshotter", "native", "gantry.local/pause:latest", "on-the-page").code,
      0,
    );
  });
  after(async () => {
    ctr("tasks", "kill", "-s", "KILL", "on-the-page");
    await until("the end of the task", () => !/RUNNING/.test(ctr("tasks", "ls").out)).catch(() => {});
    ctr("tasks", "rm", "on-the-page");
    ctr("containers", "rm", "on-the-page");
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
    rmSync(dir, { recursive: true, force: true });
  });

  test("its script shows the daemon, the container with its memory, the image, and draws", async () => {
    await using page = await openPage(url);
    let dom = "";
    const plotOf = (): string => /<svg id="memory".*?<polyline points="([^"]+)"/s.exec(dom)?.[1] ?? "";
    await until(
      "two samples in the plot",
      async () => {
        dom = await page.html();
        return plotOf().split(" ").length >= 2;
      },
      60_000,
    );
    assert.match(dom, /<span id="facts">[^<]+, pid \d+, up \d+ min, [\d.]+ MiB resident/);
    const row = /<tr><td>default<\/td><td><\/td><td>on-the-page<\/td>.*?<\/tr>/.exec(dom)?.[0] ?? "";
    assert.match(row, /<td>gantry\.local\/pause:latest<\/td><td>running<\/td><td class="n">\d+\.\d %<\/td>/);
    assert.match(row, /<td class="n">[\d.]+ KiB<\/td>/);
    assert.match(dom, /<table id="images">.*gantry\.local\/pause:latest.*<\/table>/s);
    assert.equal(ctr("namespaces", "create", "seen-by-the-page").code, 0);
    await until("the event", async () =>
      (await page.html()).includes("seen-by-the-page  /namespaces/create"),
    );
    ctr("namespaces", "rm", "seen-by-the-page");
  });
});
