/** Which attack comes when. The same seed makes the same sequence. */
import { Random } from '../random.js';

/** How long an attack lasts, in milliseconds. */
const LASTS_MS = [4_000, 12_000];

/**
 * Without an end: every attack once in a random order, then all again in another one.
 *
 * @param lane the attacks of different lanes happen at the same time.
 */
export function* planOf({ seed, lane, names }) {
  const random = new Random(`${seed} lane ${lane}`);
  for (let turn = 0; ; turn++) {
    const left = [...names];
    while (left.length > 0) {
      const [name] = left.splice(random.int(0, left.length - 1), 1);
      yield { name, seed: `${seed} ${lane} ${turn} ${name}`, forMs: random.int(...LASTS_MS) };
    }
  }
}
