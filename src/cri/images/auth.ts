/** Credentials of a pull. */
import type { AuthConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import { apiHost, parseReference } from "../../oci/reference.ts";
import { recordName } from "./image-index.ts";
import type { PullAuth } from "./service.ts";

/** Credentials of the request; those for another server are not used. @throws invalid-argument */
export function authFor(auth: AuthConfig | undefined, reference: string): PullAuth | undefined {
  if (auth === undefined) return undefined;
  if (auth.serverAddress !== "") {
    const { host } = parseReference(recordName(reference));
    const server = serverHost(auth.serverAddress);
    if (server !== host && apiHost(server) !== apiHost(host)) return undefined;
  }
  const table: PullAuth = {
    username: auth.username,
    password: auth.password,
    auth: auth.auth,
    identitytoken: auth.identityToken,
    registrytoken: auth.registryToken,
  };
  const { username, auth: encoded, identitytoken, registrytoken } = table;
  return [username, encoded, identitytoken, registrytoken].some((t) => t !== "") ? table : undefined;
}

function serverHost(address: string): string {
  const text = address.includes("://") ? address : `https://${address}`;
  const url = URL.parse(text);
  if (url === null) throw invalidArgument(`parse server address "${address}": not an address`);
  return url.host;
}
