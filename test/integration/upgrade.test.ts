/** Upgrade and downgrade under running containers (reliability F24); the long form is upgrade-run.ts. Needs root and runc. */
import { test } from "node:test";
import { upgradeRun } from "./upgrade-run.ts";

const skip = process.geteuid?.() === 0 ? false : "needs root";

test("another build in the place of the executable, and back: containers run on and obey", { skip }, () =>
  upgradeRun({ count: 10 }),
);
