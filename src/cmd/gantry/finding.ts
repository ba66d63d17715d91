/** What `gantry doctor` reports. */

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at. */
  readonly check: string;
  readonly level: "ok" | "warning" | "problem";
  readonly text: string;
  /** What to do about it. */
  readonly next?: string;
  /** Mends it; only for what nobody can be using. */
  readonly repair?: () => void | Promise<void>;
}

/** What the checks start from. */
export interface DoctorContext {
  readonly root: string;
  readonly state: string;
  readonly debugSocket: string;
}
