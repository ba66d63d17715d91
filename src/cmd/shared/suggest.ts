/** The word that somebody meant who mistyped one. */

/** Letters that may be wrong: more, and the guess is one. */
const MOST_WRONG = 2;

/** The nearest of `words`; undefined when none is near. */
export function nearest(typed: string, words: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.min(MOST_WRONG, Math.floor(typed.length / 2)) + 1;
  for (const word of words) {
    const wrong = distance(typed, word);
    if (wrong >= least) continue;
    least = wrong;
    best = word;
  }
  return best;
}

/** Letters to change, add, drop, or exchange with their neighbour to make `b` of `a`. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      next.push(cost);
    }
    before = row;
    row = next;
  }
  return row[b.length] ?? 0;
}
