/** crictl's own names for the shared declarations. */
import type { Action as SharedAction, CommandSpec as SharedSpec } from "../shared/command.ts";
import type { CriContext } from "./context.ts";

/** What a command of crictl does. */
export type Action = SharedAction<CriContext>;
/** Declares a command of crictl. */
export type CommandSpec = SharedSpec<CriContext>;
