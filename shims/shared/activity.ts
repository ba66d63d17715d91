/** When this shim did something last: one clock for all its parts. */
let last = performance.now();

/** Something happened. */
export function touch(): void {
  last = performance.now();
}

/** Milliseconds since something happened. */
export function quietFor(): number {
  return performance.now() - last;
}
