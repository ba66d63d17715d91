/** On a btrfs made in a file: needs root, mkfs.btrfs and a kernel that knows btrfs, and is skipped without them. */
import { BTRFS, runSuite } from "./real-snapshotters.ts";

runSuite(BTRFS);
