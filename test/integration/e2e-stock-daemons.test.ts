/**
 * Our `ctr` against Debian's containerd 1.6 and 1.7. With GANTRY_TEST_REFERENCE=1 also their own client with their own daemon: that
 * the scenarios ask for nothing containerd does not do (not in the gate: its client loses the output of short containers now and
 * then). Needs root, runc, docker-registry, skopeo.
 */
import { containerScenarios } from "./scenarios/containers.ts";
import { storeScenarios } from "./scenarios/stores.ts";
import { wrongScenarios } from "./scenarios/wrong.ts";
import { suite } from "./suite.ts";

const all = [...storeScenarios, ...containerScenarios, ...wrongScenarios];
suite("1.6", process.env["GANTRY_TEST_REFERENCE"] === "1" ? ["1.6", "ours"] : ["ours"], all);
suite("1.7", ["ours"], all);
