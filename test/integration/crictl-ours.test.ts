/** Our crictl with our daemon. Needs root, runc, CNI plugins. */
import { builtinArchive } from "../../src/oci/builtin/images.ts";
import { startCri } from "../peers/cri-peer.ts";
import { crictlSuite } from "./crictl-suite.ts";
import { ourBin } from "./program.ts";

crictlSuite(
  async () =>
    startCri({
      program: `${ourBin()}/containerd`,
      args: [],
      path: ourBin(),
      ctr: `${ourBin()}/ctr`,
      pause: await builtinArchive("pause"),
    }),
  { halfClose: true },
);
