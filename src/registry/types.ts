/** What the parts of the registry client share. */

/** What a host may be asked for. */
export type Capability = "pull" | "resolve" | "push";

/** TLS settings of one host; file contents, not paths. */
export interface TlsProfile {
  readonly skipVerify?: boolean | undefined;
  /** PEM bundles trusted besides the system's. */
  readonly ca?: readonly string[] | undefined;
  /** Client certificates with their keys (PEM). */
  readonly client?: readonly { readonly cert: string; readonly key: string }[] | undefined;
  /** Milliseconds to connect, TLS included. */
  readonly dialTimeoutMs?: number | undefined;
}

/** How to prove who we are. `from` says where it was found, for `ctr registry check`; never a secret. */
export type Credentials = { readonly from?: string | undefined } & (
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** An identity or refresh token, exchanged at the token server. */
  | { readonly kind: "refresh"; readonly token: string }
  /** A token sent as it is. */
  | { readonly kind: "bearer"; readonly token: string }
  /** A whole Authorization value. */
  | { readonly kind: "header"; readonly value: string }
);

/** Asks for credentials of `host` (with port); undefined = none, try as anonymous. */
export type CredentialSource = (
  host: string,
  request: {
    readonly reference: string;
    readonly challenges: readonly string[];
    readonly signal: AbortSignal;
  },
) => Promise<Credentials | undefined>;

/** One place to ask, in the order of the list it stands in. */
export interface RegistryHost {
  readonly scheme: "http" | "https";
  /** With port when not the scheme's own. */
  readonly host: string;
  /** API root, `/v2` mostly. */
  readonly path: string;
  readonly capabilities: ReadonlySet<Capability>;
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly tls: TlsProfile;
  /** A mirror is told which registry is meant by `?ns=`. */
  readonly mirror: boolean;
  /** Scheme not configured and the host is this machine: plain HTTP is tried too. */
  readonly guessScheme: boolean;
  /** What put this host into the list: a file, a table, a flag; for people. */
  readonly origin?: string | undefined;
  /** Credentials from the configuration of this host. */
  readonly credentials?: Credentials | undefined;
}
