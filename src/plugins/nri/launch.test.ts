import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Bed, container, pod } from "./testing.ts";

describe("pre-installed plugins", () => {
  test("are started with their name, index, socket and configuration; others are left out", async () => {
    await using bed = new Bed();
    const plugins = join(bed.dir, "plugins");
    const script = join(bed.dir, "plugin.ts");
    const here = import.meta.dirname;
    // A plugin in a process of its own: takes fd 3 over, and answers with its configuration when it is asked.
    writeFileSync(
      script,
      `import { connectPlugin } from ${JSON.stringify(join(here, "../../../test/fakes/nri-plugin.ts"))};
import { FdDuplex } from ${JSON.stringify(join(here, "fd-duplex.ts"))};
let config = "";
await connectPlugin(new FdDuplex(Number(process.env.NRI_PLUGIN_SOCKET)), {
  name: process.env.NRI_PLUGIN_NAME, index: process.env.NRI_PLUGIN_IDX,
  handlers: {
    configure: (r) => { config = r.config; return {}; },
    createContainer: () => ({ adjust: { annotations: { config } } }),
  },
});
`,
    );
    const install = (name: string, text: string, mode: number): void => {
      writeFileSync(join(plugins, name), text);
      chmodSync(join(plugins, name), mode);
    };
    const run =
      process.versions["bun"] === undefined
        ? `${process.execPath} run -A --no-check --config ${join(here, "../../../deno.json")}`
        : process.execPath;
    install("10-real", `#!/bin/sh\nexec ${run} ${script}\n`, 0o755);
    install("20-broken", "#!/bin/sh\nexit 1\n", 0o755);
    install("nonsense", "#!/bin/sh\nexit 1\n", 0o755);
    install("30-data", "", 0o644);
    writeFileSync(join(bed.dir, "conf/real.conf"), "other");
    writeFileSync(join(bed.dir, "conf/10-real.conf"), "mine: yes");
    await bed.start();
    assert.deepEqual(bed.manager.plugins, ["10-real"]);
    const { adjust } = await bed.manager.createContainer(pod, container());
    assert.deepEqual(adjust.annotations, { config: "mine: yes" });
  });
});
