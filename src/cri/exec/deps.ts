import type { ContainerStore } from "../../core/containers/containers.ts";
import type { Logger } from "../../core/log.ts";
import type { TaskService } from "../../core/tasks/tasks.ts";
import type { CriView } from "../model.ts";

/** What exec and attach work with. */
export interface ExecDeps {
  readonly view: CriView;
  readonly tasks: TaskService;
  readonly containers: ContainerStore;
  /** Folder for FIFOs; what an earlier daemon left there may be removed at start. */
  readonly ioDir: string;
  /** drain_exec_sync_io_timeout, milliseconds; 0 = not set. */
  readonly drainMs: number;
  readonly log: Logger;
  /** Ids of execs that are taken care of here: those of an earlier daemon are not among them. */
  readonly live?: Set<string>;
}
