import { equal, rejects } from './assertions.js';
import { group } from './case.js';
import { until, untilTrimmed, update } from './tools.js';

export const measuring = group('measure, if there is one', (test) => {
  test('says what is held, without what is transient or trimmed', async ({ open }) => {
    const journal = await open({ maxUpdates: 3 });
    if (journal.measure === undefined) return;
    const { updates, bytes, oldestAgeMs } = await journal.measure();
    equal([updates, bytes, oldestAgeMs], [0, 0, undefined]);
    await journal.append([update('first')]);
    await journal.append([update('state', { transient: true })]);
    const first = await journal.measure();
    equal(first.updates, 1);
    await until(async () => Number((await journal.measure?.())?.oldestAgeMs) > 0);
    for (let n = 0; n < 6; n++) await journal.append([update(`${n}`)]);
    await untilTrimmed(journal, 4); // The transient one is kept apart.
    const last = await journal.measure();
    equal(last.updates, 3);
    // Data of one character in place of five.
    equal(last.bytes, 3 * (first.bytes - 4));
  });

  test('rejects once the journal is closed', async ({ open }) => {
    const journal = await open();
    if (journal.measure === undefined) return;
    await journal.close();
    await rejects(journal.measure(), 'ERR_JOURNAL_CLOSED');
  });
});
