import { leasesSuite } from "./leases.ts";
import { makeLocal } from "./local-stores.ts";

leasesSuite("local", makeLocal);
