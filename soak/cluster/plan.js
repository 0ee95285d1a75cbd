/** What fails when. The same seed makes the same sequence. */
import { Random } from '../random.js';

/** The time in which nothing fails, between two failures, in milliseconds. */
const QUIET_MS = [500, 3_000];

/**
 * Without an end: every failure once in a random order, then all again in another one.
 *
 * @param nodes how many there are to choose from.
 */
export function* planOf({ seed, names, nodes }) {
  const random = new Random(`${seed} failures`);
  for (;;) {
    const left = [...names];
    while (left.length > 0) {
      const [name] = left.splice(random.int(0, left.length - 1), 1);
      yield {
        name,
        node: random.int(0, nodes - 1),
        /** Where in its range a pause lies, from 0 to 1. */
        share: random.number(),
        quietMs: random.int(...QUIET_MS),
      };
    }
  }
}
