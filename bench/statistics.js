/** Medians and spreads over the rounds, and ratios to the floor. */

/** @param rounds the values of one metric, one a round. */
export function summarize(rounds) {
  const sorted = [...rounds].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median =
    sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1), rounds };
}

/** The median of the ratios of each round: what slows a whole round down is not in them. */
export function ratioTo(base, rounds) {
  if (base === undefined) return undefined;
  return summarize(rounds.map((value, round) => value / base[round])).median;
}
