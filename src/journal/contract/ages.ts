import { equal, matches } from './assertions.js';
import { type Context, group } from './case.js';
import { allTopics, dataOf, NO_LIMIT, readAll, until, untilTrimmed, update } from './tools.js';

export const ages = group(
  'age',
  (test) => {
    const DAY_MS = 86_400_000;
    const MAX_AGE_MS = 3_600_000;

    /** Appends an update at each of these times of the machine's clock; none is a look at it only. */
    const play = async (
      { open, setClock }: Context,
      times: readonly [ms: number, data?: string][],
    ): Promise<string[]> => {
      const start = Date.now();
      setClock(start);
      const journal = await open({ maxAgeMs: MAX_AGE_MS });
      for (const [ms, data] of times) {
        setClock(start + ms);
        // Many times, so that whatever is to be trimmed in small steps is.
        for (let n = 0; n < 3; n++) await journal.ping();
        if (data !== undefined) await journal.append([update(data)]);
      }
      return dataOf(await readAll(journal));
    };

    test('are right after the clock was ahead: what was appended then is trimmed in its time', async (context) => {
      const past = MAX_AGE_MS + 1000;
      equal(
        await play(context, [
          [DAY_MS, 'a'],
          [0, 'b'],
          [past, 'c'],
        ]),
        ['c'],
      );
      equal(
        await play(context, [
          [DAY_MS, 'a'],
          [0, 'b'],
          [past / 2, 'c'],
          [past, 'd'],
        ]),
        ['c', 'd'],
      );
      equal(
        await play(context, [
          [0, 'a'],
          [10 * DAY_MS, 'b'],
          [1000, 'c'],
          [2000 + MAX_AGE_MS, 'd'],
        ]),
        ['d'],
      );
    });

    test('do not become more when the clock goes back', async (context) => {
      equal(
        await play(context, [
          [0, 'a'],
          [-DAY_MS, 'b'],
          [-DAY_MS + MAX_AGE_MS / 2, 'c'],
        ]),
        ['a', 'b', 'c'],
      );
    });

    test('do not become more when a clock that was behind is right again', async (context) => {
      equal(
        await play(context, [
          [0, 'a'],
          [-DAY_MS, 'b'],
          [60_000, 'c'],
        ]),
        ['a', 'b', 'c'],
      );
      const late = MAX_AGE_MS + 60_001;
      equal(
        await play(context, [
          [0, 'a'],
          [-DAY_MS, 'b'],
          [60_000, 'c'],
          [late, 'd'],
        ]),
        ['d'],
      );
    });

    test('drops what is too old, without an append, and nothing else', async ({
      open,
      setClock,
    }) => {
      const start = Date.now();
      setClock(start);
      const journal = await open({ maxAgeMs: 1000 });
      await journal.append([update('old'), update('old too')]);
      setClock(start + 900);
      await journal.append([update('young')]);
      setClock(start + 1001);
      await until(async () => (await readAll(journal)).length < 3);
      equal(dataOf(await readAll(journal)), ['young']);
      setClock(start + 1_000_000);
      await until(async () => (await journal.bounds()).oldest === undefined);
      equal(await allTopics(journal), []);
    });

    test('drops what is too old when something is appended', async ({ open, setClock }) => {
      const start = Date.now();
      setClock(start);
      const journal = await open({ maxAgeMs: 1_000_000 });
      await journal.append([update('old')]);
      setClock(start + 1_000_001);
      await journal.append([update('young')]);
      await untilTrimmed(journal, 1);
      equal(dataOf(await readAll(journal)), ['young']);
    });

    test('is the same for all publishers: what is too old goes whoever holds it', async ({
      open,
      setClock,
    }) => {
      const start = Date.now();
      setClock(start);
      const journal = await open({ maxAgeMs: 1_000_000, maxUpdates: 20 });
      for (const [publisher, times] of [
        ['bob', 5],
        ['ada', 50],
      ] as const) {
        for (let n = 0; n < times; n++) await journal.append([update('', { publisher })]);
      }
      setClock(start + 1_000_001);
      await journal.append([update('young')]);
      await untilTrimmed(journal, 1);
      equal(dataOf(await readAll(journal)), ['young']);
    });

    test('is of transient updates as of all others', async ({ open, setClock }) => {
      const start = Date.now();
      setClock(start);
      const journal = await open({ maxAgeMs: 1_000_000 });
      const refs = await journal.append([
        update('a'),
        update('b', { transient: true }),
        update('c', { transient: true }),
      ]);
      setClock(start + 1_000_001);
      await journal.append([update('young')]);
      await untilTrimmed(journal, 1);
      equal(dataOf(await readAll(journal)), ['young']);
      matches(await journal.read({ ...NO_LIMIT, after: refs[0]?.position }), {
        trimmed: false,
        trimmedTransient: true,
      });
    });
  },
  ['setClock'],
);
