/** Finds containers as people name them: by name, or by the beginning of their id. */
import type { NamespacedCall } from "../../core/call.ts";
import type { Container, ContainerStore } from "../../core/containers/containers.ts";
import { invalidArgument, isNotFound, notFound } from "../../core/errors.ts";
import type { ProcessState, TaskService } from "../../core/tasks/tasks.ts";
import { NAME } from "./labels.ts";

/** Shown length of an id. */
export const SHORT = 12;

/** Name of a container, its id where it has none. */
export function nameOf(container: Container): string {
  return container.labels.get(NAME) ?? container.id;
}

/** @throws not-found, invalid-argument when several have it */
export async function findContainer(
  store: ContainerStore,
  call: NamespacedCall,
  wanted: string,
): Promise<Container> {
  const all = await store.list(call, []);
  const exact = all.find((c) => c.labels.get(NAME) === wanted) ?? all.find((c) => c.id === wanted);
  if (exact !== undefined) return exact;
  const found = wanted === "" ? [] : all.filter((c) => c.id.startsWith(wanted));
  const [only, ...more] = found;
  if (only === undefined)
    throw notFound(`container "${wanted}" in namespace "${call.namespace}"`, {
      hint: "gantry ps -a lists all containers; gantry -n NAMESPACE ps -a those of another namespace",
    });
  if (more.length > 0)
    throw invalidArgument(`container "${wanted}": ${found.length} ids begin so`, {
      hint: found.map((c) => `${c.id.slice(0, 20)} (${nameOf(c)})`).join(", "),
    });
  return only;
}

/** A container's task; undefined without one. */
export async function taskOf(
  tasks: TaskService,
  call: NamespacedCall,
  id: string,
): Promise<ProcessState | undefined> {
  try {
    return await tasks.get(call, id, "");
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}
