/** EROFS images, mounted for real: needs root, mkfs.erofs and a kernel with erofs, and is skipped without them. */
import { EROFS, runSuite } from "./real-snapshotters.ts";

runSuite(EROFS);
