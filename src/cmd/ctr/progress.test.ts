import assert from "node:assert/strict";
import { test } from "node:test";
import type { Progress } from "../../core/transfer/transfer.ts";
import { ProgressView, type Screen } from "./progress.ts";

const MIB = 1n << 20n;
const step = (name: string, event: string, progress = 0n, total = 0n): Progress => ({
  event,
  name,
  parents: [],
  progress,
  total,
});

function recorder(extra: Partial<Screen> = {}): Screen & { text: string } {
  const screen = {
    ...extra,
    text: "",
    write(text: string) {
      screen.text += text;
    },
  };
  return screen;
}

test("without a terminal every news is one line, the start of small parts is none", () => {
  const screen = recorder();
  let now = 0;
  const view = new ProgressView(screen, () => now);
  view.update(step("host/app:1", "resolved"));
  view.update(step("layer-1", "waiting", 0n, 2n * MIB));
  view.update(step("layer-1", "downloading", 0n, 2n * MIB));
  view.update(step("layer-1", "downloading", MIB, 2n * MIB));
  view.update(step("layer-1", "complete", 2n * MIB, 2n * MIB));
  view.update(step("layer-2", "downloading", 0n, 20n * MIB));
  view.update(step("layer-2", "already exists", 20n * MIB, 20n * MIB));
  now = 2000;
  view.end();
  assert.equal(
    screen.text,
    "host/app:1: resolved\nlayer-1: complete (2.0 MiB)\nlayer-2: downloading (20.0 MiB)\nlayer-2: already exists (20.0 MiB)\n" +
      "elapsed: 2.0 s  total: 2.0 MiB (1.0 MiB/s)\n",
  );
});

test("on a terminal the last picture has one line for each part and the sums", () => {
  const screen = recorder({ isTTY: true, columns: 100, rows: 20 });
  const view = new ProgressView(screen, () => 0);
  view.update(step("host/app:1", "Completed pull from host"));
  view.update(step(`layer-sha256:${"a".repeat(64)}`, "downloading", MIB, 2n * MIB));
  view.end();
  const lines = screen.text.split("\n");
  assert.equal(lines.length, 4);
  assert.match(lines[0] ?? "", /host\/app:1: +Completed pull from host$/);
  assert.match(lines[1] ?? "", /layer-sha256:a{12}: downloading +\|.*\+.*-+\| 1\.0 MiB\/2\.0 MiB$/);
});

test("a blob of an archive is one part, named for what it turns out to be", () => {
  const screen = recorder({ isTTY: true, columns: 100, rows: 20 });
  const view = new ProgressView(screen, () => 0);
  const digest = `sha256:${"a".repeat(64)}`;
  view.update(step(`unknown-${digest}`, "complete", MIB, MIB));
  view.update(step(`unknown-sha256:${"b".repeat(64)}`, "complete", MIB, MIB));
  view.update(step(`layer-${digest}`, "extracted", MIB, MIB));
  view.update(step(`unknown-${digest}`, "complete", MIB, MIB));
  view.end();
  const names = screen.text.split("\n").map((line) => /([a-z]+)-sha256:(\w)/.exec(line)?.slice(1).join(""));
  assert.deepEqual(
    names.filter((name) => name !== undefined),
    ["blobb", "layera"],
  );
});

test("a failed transfer leaves the sums out", () => {
  const screen = recorder();
  const view = new ProgressView(screen, () => 0);
  view.update(step("host/app:1", "resolved"));
  view.end(true);
  assert.equal(screen.text, "host/app:1: resolved\n");
});

test("no line is longer than a narrow terminal, and NO_COLOR leaves colours out", () => {
  const draw = (columns: number): string => {
    const screen = recorder({ isTTY: true, columns, rows: 20 });
    const view = new ProgressView(screen, () => 0);
    view.update(step("registry.example/some/long/name/of/an/app:1", "Completed pull from registry.example"));
    view.update(step(`layer-sha256:${"a".repeat(64)}`, "downloading", 900n * MIB, 1000n * MIB));
    view.update(step(`layer-sha256:${"b".repeat(64)}`, "already exists", MIB, MIB));
    view.end();
    return screen.text;
  };
  const before = process.env["NO_COLOR"];
  try {
    delete process.env["NO_COLOR"];
    assert.match(draw(100), /\x1b\[32m/);
    process.env["NO_COLOR"] = "1";
    assert.doesNotMatch(draw(100), /\x1b\[32m/);
    for (const columns of [20, 40, 60, 69, 70, 80, 120]) {
      const lines = draw(columns).split("\n").slice(0, -1);
      for (const line of lines) assert.ok(line.replace(/\x1b\[\d*[A-Z]/g, "").length < columns, line);
    }
  } finally {
    if (before === undefined) delete process.env["NO_COLOR"];
    else process.env["NO_COLOR"] = before;
  }
});
