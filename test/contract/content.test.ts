import { contentSuite } from "./content.ts";
import { makeLocal } from "./local-stores.ts";

contentSuite("local", makeLocal);
