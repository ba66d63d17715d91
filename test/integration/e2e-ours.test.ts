/** Our daemon and our `ctr`. Needs root, runc, docker-registry, skopeo. */
import { containerScenarios } from "./scenarios/containers.ts";
import { storeScenarios } from "./scenarios/stores.ts";
import { wrongScenarios } from "./scenarios/wrong.ts";
import { suite } from "./suite.ts";

suite("ours", ["ours"], [...storeScenarios, ...containerScenarios, ...wrongScenarios]);
