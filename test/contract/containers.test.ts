import { containersSuite } from "./containers.ts";
import { makeLocal } from "./local-stores.ts";

containersSuite("local", makeLocal);
