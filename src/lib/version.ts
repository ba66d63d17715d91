/** Version of this build: set by scripts/build.ts through `--define`, "dev" when run from source. */
declare const GANTRY_VERSION: string | undefined;
declare const GANTRY_REVISION: string | undefined;

/** Semantic version without a leading v. */
export const version: string = typeof GANTRY_VERSION === "string" ? GANTRY_VERSION : "0.1.0-dev";
/** Commit this build was made from; "" when unknown. */
export const revision: string = typeof GANTRY_REVISION === "string" ? GANTRY_REVISION : "";
