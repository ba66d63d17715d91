/**
 * Our `ctr` against Debian's containerd 1.6 and 1.7, and the reference against itself: what their own client does with their own
 * daemon shows that the scenarios ask for nothing that containerd does not do. Needs root, runc, docker-registry, skopeo.
 */
import { containerScenarios } from "./scenarios/containers.ts";
import { storeScenarios } from "./scenarios/stores.ts";
import { wrongScenarios } from "./scenarios/wrong.ts";
import { suite } from "./suite.ts";

const all = [...storeScenarios, ...containerScenarios, ...wrongScenarios];
suite("1.6", ["1.6", "ours"], all);
suite("1.7", ["ours"], all);
