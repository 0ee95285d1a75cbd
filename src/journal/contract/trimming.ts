import type { EntryRef } from '../journal.js';
import { equal, matches } from './assertions.js';
import { type Context, group } from './case.js';
import {
  allTopics,
  dataOf,
  listen,
  NO_LIMIT,
  newestOf,
  readAll,
  until,
  untilTrimmed,
  update,
} from './tools.js';

export const trimming = group('trimming', (test) => {
  test('keeps the newest so many, and their topics', async ({ open }) => {
    const journal = await open({ maxUpdates: 3 });
    for (let n = 0; n < 10; n++) {
      await journal.append([update(`${n}`, { topics: [`topic ${n}`, 'all'] })]);
    }
    await untilTrimmed(journal, 3);
    equal(dataOf(await readAll(journal)), ['7', '8', '9']);
    equal(dataOf(await readAll(journal, { topics: ['all'] })), ['7', '8', '9']);
    equal((await allTopics(journal)).sort(), ['all', 'topic 7', 'topic 8', 'topic 9']);
    equal(await newestOf(journal, 'topic 6', 1), []);
  });

  test('comes to the limit also when more is appended at once', async ({ open }) => {
    const journal = await open({ maxUpdates: 3 });
    const heard = await listen(journal);
    await journal.append(Array.from({ length: 2000 }, (_, n) => update(`${n}`)));
    equal(heard.length, 2000);
    await untilTrimmed(journal, 3);
    equal(dataOf(await readAll(journal, { topics: ['t'] })), ['1997', '1998', '1999']);
  });

  test('drops what is too old, without an append', async ({ open }) => {
    const journal = await open({ maxAgeMs: 200 });
    const [old] = await journal.append([update('old'), update('old too')]);
    await until(async () => (await journal.bounds()).oldest === undefined);
    equal(await allTopics(journal), []);
    matches(await journal.read({ ...NO_LIMIT, after: old?.position }), {
      entries: [],
      trimmed: true,
    });
  });

  test('tells a reader from before that it has missed something, and only that one', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 2 });
    const refs: EntryRef[] = [];
    for (const data of ['a', 'b', 'c', 'd']) refs.push(...(await journal.append([update(data)])));
    await untilTrimmed(journal, 2);
    const trimmedAfter = async (after: string | undefined): Promise<boolean> => {
      const whole = await journal.read({ ...NO_LIMIT, after });
      const byTopic = await journal.read({ ...NO_LIMIT, after, topics: ['none'] });
      equal(byTopic.trimmed, whole.trimmed);
      return whole.trimmed;
    };
    const [a, b, c, d] = refs.map(({ position }) => position);
    equal(await trimmedAfter(a), true);
    equal(await trimmedAfter('1000000000000-0'), true);
    equal(await trimmedAfter(b), false);
    equal(await trimmedAfter(c), false);
    equal(await trimmedAfter(d), false);
    equal(await trimmedAfter(undefined), false);
  });
});

export const bytes = group('a limit in bytes', (test) => {
  /** What an update of the topic `t` counts beside its data. */
  const smallest = ({ update: one, topic }: Context['overhead']): number => one + topic + 1;

  test('keeps the newest updates that come to so many', async ({ open, overhead }) => {
    const size = smallest(overhead) + 1000;
    const journal = await open({ maxBytes: 10 * size });
    for (let n = 0; n < 25; n++) await journal.append([update(`${n}`.padEnd(1000))]);
    await untilTrimmed(journal, 10);
    const kept = dataOf(await readAll(journal)).map((data) => data.trim());
    equal(
      kept,
      Array.from({ length: 10 }, (_, n) => `${15 + n}`),
    );
  });

  test('counts topics, data, type and own id in UTF-8, and what the keeper takes beside them', async ({
    open,
    overhead,
  }) => {
    const given = update('dätä', { topics: ['é', '🎉'], type: 'ü', id: 'ï' });
    const size = overhead.update + overhead.topic * 2 + 2 + 4 + 6 + 2 + 2;
    for (const [maxBytes, held] of [
      [2 * size, 2],
      [2 * size - 1, 1],
    ] as const) {
      const journal = await open({ maxBytes });
      await journal.append([given, { ...given, id: 'ö' }]);
      await untilTrimmed(journal, held);
      equal((await readAll(journal)).length, held);
    }
  });

  test('is not outrun by large updates that take the place of many small ones', async ({
    open,
    overhead,
  }) => {
    const maxBytes = 2_000_000;
    const journal = await open({ maxBytes });
    await journal.append(Array.from({ length: 7000 }, () => update('small')));
    for (let n = 0; n < 10; n++) {
      await journal.append([update('x'.repeat(500_000))]);
      const bytes = async (): Promise<number> =>
        (await readAll(journal)).reduce(
          (sum, { data }) => sum + smallest(overhead) + data.length,
          0,
        );
      await until(async () => (await bytes()) <= maxBytes);
    }
  });

  test('of 0 is none', async ({ open }) => {
    const journal = await open({ maxBytes: 0 });
    for (let n = 0; n < 5; n++) await journal.append([update('x'.repeat(1_000_000))]);
    equal((await readAll(journal)).length, 5);
  });
});
