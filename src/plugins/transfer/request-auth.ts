/** Credentials that come with one pull, as CRI's AuthConfig has them. */
import { apiHost, parseReference } from "../../oci/reference.ts";
import { credentialsFrom } from "../../registry/credentials.ts";
import type { CredentialSource } from "../../registry/types.ts";

/**
 * A source that gives the credentials of `auth` to the registry the reference names, and to nobody else: not to its mirrors
 * (S14). A `serveraddress` that names another registry makes it give nothing.
 * @param auth `username` and `password`, `auth`, `identitytoken` or `registrytoken`, and perhaps `serveraddress`
 */
export function requestCredentials(
  reference: string,
  auth: Readonly<Record<string, unknown>>,
): CredentialSource | undefined {
  const credentials = credentialsFrom(auth);
  if (credentials === undefined) return undefined;
  const { host } = parseReference(reference);
  const address = auth["serveraddress"] ?? auth["server_address"];
  if (typeof address === "string" && address !== "" && apiHost(hostOf(address)) !== apiHost(host))
    return undefined;
  const own = new Set([host, apiHost(host)]);
  return async (asked) => (own.has(asked) ? { ...credentials, from: "the pull request" } : undefined);
}

function hostOf(address: string): string {
  return address.replace(/^[a-z]+:\/\//i, "").replace(/\/.*$/s, "");
}
