import { imagesSuite } from "./images.ts";
import { makeLocal } from "./local-stores.ts";

imagesSuite("local", makeLocal);
