/** Kinds of the engine's own that containerd has no type for. */
import type { Introspection } from "../introspection/introspection.ts";
import { defineKind } from "./plugin.ts";

/** What the booted graph tells of itself; provided by the daemon before boot. */
export const INTROSPECTION = defineKind<Introspection>("gantry.introspection");
