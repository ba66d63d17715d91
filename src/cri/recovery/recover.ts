/** What an earlier life of the daemon left: read, compared with what runs, made right. */
import type { Cri } from "../cri.ts";

/** Loads records. */
export async function recover(cri: Cri): Promise<void> {
  const [pods, containers] = await Promise.all([cri.records.loadPods(), cri.records.loadContainers()]);
  cri.store.load(pods, containers);
}
