/** The overlayfs and native cases mount for real: they need root; without it native runs on folders only. */
import { makeLocal } from "./local-stores.ts";
import { native, OVERLAYFS, runSuite } from "./real-snapshotters.ts";
import { snapshotterSuite } from "./snapshotter.ts";

if (process.getuid?.() === 0) {
  runSuite(OVERLAYFS);
  runSuite(native(32));
} else {
  snapshotterSuite({ name: "native", mounts: false, renamesDirectories: true }, makeLocal);
}
