import { gcSuite } from "./gc.ts";
import { makeLocal } from "./local-stores.ts";

gcSuite("local", makeLocal);
