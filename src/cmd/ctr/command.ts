/** ctr's own names for the shared declarations. */
import type { Action as SharedAction, CommandSpec as SharedSpec } from "../shared/command.ts";
import type { GlobalOptions } from "./context.ts";

/** What a command of ctr does. */
export type Action = SharedAction<GlobalOptions>;
/** Declares a command of ctr. */
export type CommandSpec = SharedSpec<GlobalOptions>;
