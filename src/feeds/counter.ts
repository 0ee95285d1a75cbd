import { Audience } from '../sse/audience.js';
import { everySecond } from './every-second.js';
import type { Feed } from './feed.js';

/**
 * The counter: 0, 1, 2, … as unnamed events, one a second, counted for each connection from its start.
 * Those who joined within the same second are at the same number for ever: they share an audience, so a
 * number is encoded once for all of them.
 */
export function createCounter(): Feed {
  const cohorts = new Set<{ readonly audience: Audience; next: number }>();
  let newest: Audience | undefined;

  const timer = everySecond(() => {
    newest = undefined;
    for (const cohort of cohorts) {
      cohort.audience.send({ data: String(cohort.next) });
      cohort.next += 1;
      if (cohort.audience.size === 0) cohorts.delete(cohort);
    }
    return cohorts.size > 0;
  });

  return {
    join(stream) {
      if (newest === undefined) {
        newest = new Audience();
        cohorts.add({ audience: newest, next: 0 });
      }
      newest.add(stream);
      timer.start();
    },
  };
}
