/** `refuse_old_runc` (S51): a runc with known escapes starts nothing, a mended one does. Needs root and runc. */
import assert from "node:assert/strict";
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { Engine } from "./engine.ts";

test("an old runc is refused with its version and what to do; a new one runs", async () => {
  const engine = new Engine("ours");
  try {
    const table = '[plugins."io.containerd.runtime.v2.task"]\n  refuse_old_runc = true\n';
    appendFileSync(join(engine.dir, "config.toml"), table);
    await engine.start();
    const ctr = engine.client("ours");
    await ctr.ok("images", "import", testImages().archive("busybox"));
    for (const [version, code] of [
      ["1.1.5+ds1", 1],
      ["1.4.0", 7],
    ] as const) {
      const runc = join(engine.dir, `runc-${code}`);
      const script = `#!/bin/sh\n[ "$1" = --version ] && { echo "runc version ${version}"; exit; }\nexec runc "$@"\n`;
      writeFileSync(runc, script, { mode: 0o755 });
      const flags = ["--rm", "--runc-binary", runc];
      const said = await ctr.run(
        "run",
        ...flags,
        imageName("busybox"),
        engine.id("old"),
        "sh",
        "-c",
        "exit 7",
      );
      assert.equal(said.code, code, said.err);
      if (code !== 1) continue;
      assert.match(said.err, /runc 1\.1\.5\+ds1 has known container escapes.*\n.*refuse_old_runc/s);
      assert.equal(await ctr.ok("tasks", "ls", "-q"), "");
    }
  } finally {
    await engine.stop();
  }
});
