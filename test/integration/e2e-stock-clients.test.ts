/** Our daemon driven by Debian's own `ctr` of containerd 1.6 and 1.7, unmodified. Needs root, runc, docker-registry, skopeo. */
import { containerScenarios } from "./scenarios/containers.ts";
import { storeScenarios } from "./scenarios/stores.ts";
import { wrongScenarios } from "./scenarios/wrong.ts";
import { suite } from "./suite.ts";

suite("ours", ["1.6", "1.7"], [...storeScenarios, ...containerScenarios, ...wrongScenarios]);
