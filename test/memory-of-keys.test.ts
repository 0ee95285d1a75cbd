import { expect, test } from '@jest/globals';
import { MAX_KEYS_BYTES, type Update } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { bytesInUse, settledBytesInUse } from './support/heap.js';

/** How many updates the journal holds, which repeats of them name again. */
const HELD = 200;

test.each<[string, number, (n: number) => string | undefined, number]>([
  ['of one publisher', 60_000, () => 'ada', 0],
  ['of publishers that have one each', 60_000, (n) => `publisher ${n} of them all`, 0],
  ['that stand for updates far apart', 8_000, () => 'ada', HELD / 2],
])(
  'all keys that a journal remembers take no more than 16 MiB: %s',
  async (_, count, publisherOf, apart) => {
    const journal = openMemoryJournal({ maxUpdates: HELD, maxAgeMs: 0 });
    const held = Array.from({ length: HELD }, (_, n): Update => {
      return { topics: ['t'], data: '', private: false, id: `${n}` };
    });
    await journal.append(held);
    const updates = held.filter((_, n) => n % 2 === 0).slice(0, apart);
    const before = await settledBytesInUse();
    for (let n = 0; n < count; n++) {
      // As a request has it: texts of its own.
      const key = JSON.parse(
        JSON.stringify({
          key: `${n}`.padEnd(43, '.'),
          digest: `${n}`.padEnd(43),
          publisher: publisherOf(n),
        }),
      );
      await journal.append(updates, { key });
    }
    expect(bytesInUse() - before).toBeLessThan(1.1 * MAX_KEYS_BYTES);
    // It is the keys that were measured, and there are many.
    expect(bytesInUse() - before).toBeGreaterThan(0.5 * MAX_KEYS_BYTES);
    await journal.close();
  },
);
