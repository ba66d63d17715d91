import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ustarEnd, ustarHeader, ustarPadding } from "./ustar.ts";

test("tar reads what is written: names, sizes, modes, times, contents", () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-ustar-"));
  try {
    const file = (name: string, text: string): Uint8Array[] => {
      const bytes = new TextEncoder().encode(text);
      const size = BigInt(bytes.length);
      return [ustarHeader({ name, size, mode: 0o640, mtime: 86400n }), bytes, ustarPadding(size)];
    };
    const parts = [
      ustarHeader({ name: "d/", size: 0n, mode: 0o755, mtime: 0n }),
      ...file("d/a", "hello"),
      ...file("b", "x".repeat(512)),
      ustarEnd(),
    ];
    writeFileSync(join(dir, "t.tar"), Buffer.concat(parts));
    const tar = (...args: string[]): string =>
      spawnSync("tar", [...args, join(dir, "t.tar")], {
        encoding: "utf8",
        env: { ...process.env, TZ: "UTC" },
      }).stdout;
    const list = tar("--numeric-owner", "-tvf").trim().split("\n");
    assert.match(list[0] ?? "", /^drwxr-xr-x 0\/0 +0 1970-01-01 00:00 d\/$/);
    assert.match(list[1] ?? "", /^-rw-r----- 0\/0 +5 1970-01-02 00:00 d\/a$/);
    assert.match(list[2] ?? "", /^-rw-r----- 0\/0 +512 /);
    assert.equal(tar("-O", "-xf").slice(0, 5), "hello");
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("sizes beyond octal digits, and names beyond the field", () => {
  const block = Buffer.from(ustarHeader({ name: "big", size: 8n ** 11n, mode: 0o600, mtime: 0n }));
  assert.equal(block[124], 0x80);
  assert.equal(block.readBigUInt64BE(128), 8n ** 11n);
  assert.throws(() => ustarHeader({ name: "n".repeat(101), size: 0n, mode: 0, mtime: 0n }), RangeError);
});
