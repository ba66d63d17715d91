import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseNriConfig } from "./plugin.ts";
import { Bed, container, pod } from "./testing.ts";

describe("validation", () => {
  test("a validator plugin sees changes, owners and plugins, and may reject them", async () => {
    await using bed = await new Bed().start();
    await bed.join({
      name: "hooks",
      index: "00",
      handlers: { createContainer: () => ({ adjust: { hooks: { prestart: [{ path: "/x" }] } } }) },
    });
    await bed.join({
      name: "judge",
      index: "90",
      handlers: {
        validateContainerAdjustment: (r) => {
          assert.equal(r.adjust?.hooks?.prestart[0]?.path, "/x");
          assert.equal(r.owners?.owners["c1"]?.simple[3], "00-hooks");
          assert.deepEqual(
            r.plugins.map(({ name, index }) => `${index}-${name}`),
            ["00-hooks", "90-judge"],
          );
          return { reject: true, reason: "no hooks here" };
        },
      },
    });
    await assert.rejects(
      bed.manager.createContainer(pod, container()),
      /validator plugin "90-judge" rejected container adjustment: no hooks here/,
    );
  });

  const forbidden: [string, Record<string, unknown>, object, RegExp][] = [
    [
      "hooks",
      { reject_oci_hook_adjustment: true },
      { hooks: { poststop: [{ path: "/x" }] } },
      /validation error: plugin "00-p" attempted restricted OCI hook injection/,
    ],
    [
      "seccomp",
      { reject_runtime_default_seccomp_adjustment: true },
      { linux: { seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" } } },
      /restricted runtime default seccomp policy adjustment/,
    ],
    [
      "namespaces",
      { reject_namespace_adjustment: true },
      { linux: { namespaces: [{ type: "uts" }] } },
      /restricted namespace adjustment by plugin\(s\) "00-p" \(namespace "uts"\)/,
    ],
    [
      "sysctls",
      { reject_sysctl_adjustment: true },
      { linux: { sysctl: { "net.x": "1" } } },
      /restricted sysctl adjustment by plugin\(s\) 00-p/,
    ],
    ["a missing plugin", { required_plugins: ["topology"] }, {}, /required plugin "topology" not present/],
  ];
  for (const [what, table, adjust, words] of forbidden) {
    test(`the built-in validator rejects ${what}`, async () => {
      const validator = parseNriConfig({
        plugin_registration_timeout: "1s",
        plugin_request_timeout: "1s",
        default_validator: { enable: true, ...table },
      }).validator;
      await using bed = await new Bed({ validator }).start();
      await bed.join({ name: "p", index: "00", handlers: { createContainer: () => ({ adjust }) } });
      await assert.rejects(bed.manager.createContainer(pod, container()), words);
    });
  }

  test("pods name plugins they need, or that they can do without", async () => {
    const { validator } = parseNriConfig({
      plugin_registration_timeout: "1s",
      plugin_request_timeout: "1s",
      default_validator: {
        enable: true,
        required_plugins: ["topology"],
        tolerate_missing_plugins_annotation: "tolerate.example",
      },
    });
    await using bed = await new Bed({ validator }).start();
    const tolerant = { ...pod, annotations: { "tolerate.example/container.main": "true" } };
    await bed.manager.createContainer(tolerant, container());
    const wants = { ...pod, annotations: { "required-plugins.noderesource.dev": "[ other, more ]" } };
    await assert.rejects(
      bed.manager.createContainer(wants, container()),
      /required plugins "topology,other,more" not present/,
    );
  });
});
