import { makeLocal } from "./local-stores.ts";
import { namespacesSuite } from "./namespaces.ts";

namespacesSuite("local", makeLocal);
