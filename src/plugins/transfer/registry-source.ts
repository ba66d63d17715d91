/** A registry session as a source of pulls. */
import type { RegistrySession } from "../../registry/registry.ts";
import type { PullSource } from "./sources.ts";

/** Wraps a session. */
export function registrySource(session: RegistrySession): PullSource {
  const { fetcher, ref } = session;
  return {
    host: ref.host,
    repository: ref.repository,
    resolve: (signal) => session.resolve(signal),
    read: (desc, max, signal) => fetcher.read(desc, max, signal),
    stream: (desc, offset, signal, ranges) => fetcher.stream(desc, offset, signal, ranges),
    distrust: (digest) => fetcher.distrust(digest),
  };
}
