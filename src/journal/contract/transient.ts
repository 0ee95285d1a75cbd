import type { Entry, Update } from '../journal.js';
import { equal, matches } from './assertions.js';
import { group } from './case.js';
import { dataOf, NO_LIMIT, readAll, until, untilTrimmed, update } from './tools.js';

export const transient = group('transient updates', (test) => {
  const states = (count: number, from = 0): Update[] =>
    Array.from({ length: count }, (_, n) =>
      update(`state ${from + n}`, { transient: true, topics: ['states'] }),
    );
  const lasting = (entries: readonly Entry[]): string[] =>
    dataOf(entries.filter(({ transient }) => !transient));

  test('trim no others, however many there are, and keep the newest so many', async ({ open }) => {
    const journal = await open({ maxUpdates: 10, maxTransient: 5 });
    const [first] = await journal.append(Array.from({ length: 10 }, (_, n) => update(`${n}`)));
    for (let n = 0; n < 100; n++) await journal.append(states(10, n * 10));
    await untilTrimmed(journal, 15);
    const held = await readAll(journal);
    equal(lasting(held), ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    equal(dataOf(held).slice(10), dataOf(states(5, 995)));
    matches(await journal.read({ ...NO_LIMIT, after: first?.position }), {
      trimmed: false,
      trimmedTransient: true,
    });
  });

  test('are 10,000 by default, and have no more than 16 MiB', async ({ open }) => {
    const journal = await open();
    for (let n = 0; n < 12; n++) await journal.append(states(1000, n * 1000));
    await untilTrimmed(journal, 10_000);
    equal((await readAll(journal)).length, 10_000);
    const large = update('x'.repeat(1024 * 1024), { transient: true });
    for (let n = 0; n < 20; n++) await journal.append([large]);
    await untilTrimmed(journal, 15);
    equal((await readAll(journal)).length, 15);
  });

  test('count to no limit of the others, nor are they trimmed for them', async ({
    open,
    overhead,
  }) => {
    const smallest = overhead.update + overhead.topic + 1;
    const journal = await open({ maxUpdates: 10, maxBytes: 10 * (smallest + 10) - 1 });
    await journal.append(states(100));
    for (let n = 0; n < 50; n++) await journal.append([update(`${n}`.padStart(10))]);
    await untilTrimmed(journal, 109);
    const held = await readAll(journal);
    equal(
      lasting(held),
      Array.from({ length: 9 }, (_, n) => `${41 + n}`.padStart(10)),
    );
    equal(held.length, 109);
    const from = held[0]?.position;
    equal((await journal.read({ ...NO_LIMIT, from })).trimmedTransient, false);
  });

  test('can be read on from when they are gone, unless an update after them is', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 1, maxTransient: 1 });
    const [early] = await journal.append(states(1));
    await journal.append([update('a')]);
    const [state] = await journal.append(states(1));
    const [b] = await journal.append([update('b')]); // Trims a.
    await journal.append(states(1));
    await untilTrimmed(journal, 2);
    equal(await journal.locate(state?.id ?? ''), {
      found: true,
      position: state?.position,
    });
    equal(await journal.locate(early?.id ?? ''), { found: false, reason: 'trimmed' });
    await journal.append([update('c'), update('d')]);
    await until(async () => lasting(await readAll(journal)).length === 1);
    equal(await journal.locate(state?.id ?? ''), { found: false, reason: 'trimmed' });
    equal(await journal.locate(b?.id ?? ''), { found: false, reason: 'trimmed' });
  });
});
