import { expect, test } from '@jest/globals';
import { MAX_ENDINGS_BYTES, type Update } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { bytesInUse, settledBytesInUse } from './support/heap.js';
import { allEndings } from './support/journal-contract.js';

test.each<[string, number, (n: number) => string | undefined, number, number]>([
  ['of one publisher', 50_000, () => 'ada', 1, 30],
  ['of publishers that have one each', 40_000, (n) => `publisher ${n} of them all`, 1, 30],
  ['of a hundred topics each', 2_500, () => undefined, 100, 0],
  ['of long topics', 14_000, () => 'ada', 1, 1000],
])(
  'all endings that a journal remembers take no more than 16 MiB: %s',
  async (_, count, publisherOf, topics, length) => {
    const journal = openMemoryJournal({ maxUpdates: 1, maxAgeMs: 0 });
    const before = await settledBytesInUse();
    for (let n = 0; n < count; n++) {
      const end = {
        topics: Array.from({ length: topics }, (_, m) => `${n} ${m}`.padEnd(length, '.')),
        data: '',
        private: false,
        publisher: publisherOf(n),
        last: true,
      };
      // As a request has it: texts of its own.
      await journal.append([JSON.parse(JSON.stringify(end)) as Update]);
    }
    expect(bytesInUse() - before).toBeLessThan(1.1 * MAX_ENDINGS_BYTES);
    // It is the endings that were measured, there are many, and the oldest of them are gone.
    expect(bytesInUse() - before).toBeGreaterThan(0.5 * MAX_ENDINGS_BYTES);
    expect((await allEndings(journal)).length).toBeLessThan(count);
    await journal.close();
  },
);
