/** Holds the tasks of the daemon: makes, finds, watches and cleans them up. */
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound, isUnavailable, notFound } from "../../core/errors.ts";
import type { CreateTask, Exit } from "../../core/tasks/tasks.ts";
import { fromTimestamp } from "../../rpc/convert/basic.ts";
import { callOptions } from "../../rpc/headers.ts";
import { hideBundle } from "./bundle.ts";
import { createTask } from "./create-task.ts";
import { askFound, loadTasks } from "./load-tasks.ts";
import { isListening } from "./shim-manager.ts";
import { settleExit, type Task, taskKey } from "./task.ts";
import { type ManagerOptions, TaskTable } from "./task-table.ts";

/** See the file's comment. */
export class TaskManager {
  readonly #table: TaskTable;

  constructor(options: ManagerOptions) {
    this.#table = new TaskTable(options);
  }

  /** @throws not-found */
  get(call: NamespacedCall, id: string): Task {
    const task = this.#table.tasks.get(taskKey(call.namespace, id));
    if (task === undefined) throw notFound(`task ${id}`);
    return task;
  }

  /** Tasks of a namespace. */
  list(call: NamespacedCall): Task[] {
    return [...this.#table.tasks.values()].filter((t) => t.bundle.namespace === call.namespace);
  }

  /** Makes bundle and shim and creates the task in it. What was made is undone when a step fails. */
  create(call: NamespacedCall, request: CreateTask): Promise<Task> {
    return createTask(this.#table, call, request);
  }

  /** Deletes a stopped task from its shim, ends the shim when it has no other, removes the bundle. */
  async delete(call: NamespacedCall, id: string): Promise<Exit> {
    const task = this.get(call, id);
    try {
      return await this.#delete(call, id);
    } catch (err) {
      if (!isUnavailable(err) || isListening(task.address.address)) throw err;
      // nobody else cleans up: the watch ended with the container, or took the loss of the shim for our doing
      await this.#table.cleanUpDead(task.bundle, task.shim, task);
      if (task.exit === undefined) throw err;
      return task.exit;
    }
  }

  async #delete(call: NamespacedCall, id: string): Promise<Exit> {
    using _lock = await this.#table.locks.acquire(taskKey(call.namespace, id), call.signal);
    const task = this.get(call, id);
    task.deleting = true;
    try {
      const answer = await task.api.delete({ id }, callOptions(call));
      const exit = { pid: answer.pid, status: answer.exitStatus, exitedAt: fromTimestamp(answer.exitedAt) };
      settleExit(task, exit);
      this.#table.tasks.delete(taskKey(call.namespace, id));
      // in this order: as long as the bundle is there, a daemon that is killed here finds the shim again
      await this.#table.shutdown(task);
      this.#table.logs.end(task.bundle);
      const { removed } = await hideBundle(task.bundle);
      this.#table.later(removed(), task.bundle.id);
      return exit;
    } catch (err) {
      task.deleting = false;
      if (isNotFound(err) && task.exit !== undefined) {
        await this.#table.forget(task);
        return task.exit;
      }
      throw err;
    }
  }

  /** Finds the shims of an earlier daemon again; cleans up after those that died meanwhile. */
  load(): Promise<void> {
    return loadTasks(this.#table);
  }

  /** Connects to the shims that {@link load} has not asked. */
  askFound(): Promise<void> {
    return askFound(this.#table);
  }

  /** Closes connections; shims and containers stay. */
  stop(): Promise<void> {
    return this.#table.stop();
  }

  /** Timeout of state and stats questions. */
  get stateTimeout(): number {
    return this.#table.options.timeouts.state;
  }
}
