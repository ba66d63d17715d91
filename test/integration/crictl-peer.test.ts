/** Our crictl with Debian's containerd 1.7. Needs root, runc, CNI plugins. */
import { builtinArchive } from "../../src/oci/builtin/images.ts";
import { startCriPeer } from "../peers/cri-peer.ts";
import { crictlSuite } from "./crictl-suite.ts";

crictlSuite(async () => startCriPeer("1.7", await builtinArchive("pause")), { halfClose: false });
