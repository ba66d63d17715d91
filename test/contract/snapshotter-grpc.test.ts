/** Every snapshotter through the gRPC face. They mount for real, as root; without it native runs on folders only. */
import { overGrpc } from "./grpc-stores.ts";
import { makeLocal } from "./local-stores.ts";
import { BLOCKFILE, BTRFS, EROFS, native, OVERLAYFS, runSuite } from "./real-snapshotters.ts";
import { snapshotterSuite } from "./snapshotter.ts";

if (process.getuid?.() === 0) {
  for (const each of [native(8), OVERLAYFS, BTRFS, EROFS, BLOCKFILE]) runSuite(each, overGrpc);
} else {
  snapshotterSuite(
    { name: "native", mounts: false, renamesDirectories: true, depth: 8 },
    overGrpc(makeLocal),
  );
}
