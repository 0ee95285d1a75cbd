import { setImmediate as nextTurn } from 'node:timers/promises';
import { BEGINNING, type NewestOptions, positionAfter } from '../journal.js';
import { equal, ok, rejects } from './assertions.js';
import { group } from './case.js';
import { allTopics, dataOf, newestOf, until, update } from './tools.js';

export const looking = group('topics, newest and bounds', (test) => {
  test('finds the newest of a topic as far as their length allows, and at least one', async ({
    open,
  }) => {
    const journal = await open();
    const text = 'x'.repeat(1000);
    await journal.append(Array.from({ length: 10 }, (_, n) => update(`${n}${text}`)));
    const newest = async (maxLength: number, before?: string) =>
      (await newestOf(journal, 't', 100, { before, maxLength })).map(({ data }) => data[0]);
    equal(await newest(1), ['9']);
    equal(await newest(2500), ['7', '8', '9']);
    const [seventh] = (await newestOf(journal, 't', 3)).map(({ position }) => position);
    equal(await newest(1, seventh), ['6']);
    equal((await newest(Number.POSITIVE_INFINITY)).length, 10);
  });

  test('finds the newest of many topics in one call, in their order', async ({ open }) => {
    const journal = await open();
    const topics = Array.from({ length: 1_000 }, (_, n) => `topic ${n}`);
    await journal.append(topics.map((topic) => update('old', { topics: [topic] })));
    const [ref] = await journal.append(
      topics.map((topic, n) => update(`${n}`, { topics: n % 3 ? [topic] : [topic, 'third'] })),
    );
    const asked = topics.toReversed();
    const newest = await journal.newest(asked, { count: 1 });
    equal(
      newest.map((entries) => dataOf(entries)),
      asked.map((_, n) => [`${999 - n}`]),
    );
    const some = ['topic 7', 'none', 'third', 'topic 7'];
    const lists = async (options: NewestOptions) =>
      (await journal.newest(some, options)).map((entries) => dataOf(entries));
    equal(await lists({ count: 2 }), [['old', '7'], [], ['996', '999'], ['old', '7']]);
    const before = ref?.position;
    equal(await lists({ count: 2, before }), [['old'], [], [], ['old']]);
    equal(await lists({ count: 2, maxLength: 1 }), [['7'], [], ['999'], ['7']]);
    equal(await journal.newest([], { count: 1 }), []);
  });

  test('is empty of an empty journal', async ({ open }) => {
    const journal = await open();
    equal(await allTopics(journal), []);
    equal(await newestOf(journal, 't', 1), []);
    equal(await newestOf(journal, '', 1), []);
    equal(await newestOf(journal, 'x'.repeat(5000), 1), []);
    equal(await newestOf(journal, 't', 10), []);
    equal(await journal.bounds(), { oldest: undefined, head: undefined });
  });

  test('tells every topic once, the newest entry of each, and the first and last', async ({
    open,
  }) => {
    const journal = await open();
    const refs = await journal.append([
      update('1', { topics: ['a', 'ab'], id: 'first' }),
      update('2', { topics: ['b', 'a\0'] }),
      update('3', { topics: ['ab', '✓'] }),
      update('4', { topics: ['b'], id: 'last' }),
    ]);
    equal((await allTopics(journal)).sort(), ['a', 'a\0', 'ab', 'b', '✓']);
    equal((await newestOf(journal, 'a', 1))[0]?.data, '1');
    equal((await newestOf(journal, 'ab', 1))[0]?.data, '3');
    equal(await newestOf(journal, 'b', 1), [{ ...update('4', { topics: ['b'] }), ...refs[3] }]);
    equal(await newestOf(journal, 'A', 1), []);
    const newest = async (topic: string, count: number): Promise<string[]> =>
      dataOf(await newestOf(journal, topic, count));
    equal(await newest('b', 0), []);
    equal(await newest('b', 1), ['4']);
    equal(await newest('b', 2), ['2', '4']);
    equal(await newest('b', 100), ['2', '4']);
    equal(await newest('A', 100), []);
    equal(await journal.bounds(), { oldest: refs[0], head: refs[3] });
  });
  test('newest before a position pages backwards through a topic', async ({ open }) => {
    const journal = await open();
    const refs = await journal.append(
      Array.from({ length: 10 }, (_, n) => update(`${n}`, { topics: [n % 2 ? 'odd' : 'even'] })),
    );
    const position = (n: number): string => refs[n]?.position ?? '';
    const newest = async (count: number, before: string): Promise<string[]> =>
      dataOf(await newestOf(journal, 'odd', count, { before }));
    equal(await newest(2, position(9)), ['5', '7']);
    equal(await newest(2, position(8)), ['5', '7']);
    equal(await newest(2, positionAfter(position(9))), ['7', '9']);
    equal(await newest(10, position(3)), ['1']);
    equal(await newest(10, position(1)), []);
    const [epoch, sequence] = position(1).split('-').map(Number) as [number, number];
    equal(await newest(10, `${epoch - 1}-${sequence}`), []);
    equal(await newest(2, `${epoch + 1_000}-0`), ['7', '9']);
    equal(await newest(10, BEGINNING), []);
  });
});

export const listing = group('topics', (test) => {
  test('come in pages of at most 1,000, each in a turn of its own', async ({ open }) => {
    const journal = await open();
    const names = Array.from({ length: 2500 }, (_, n) => `topic ${n}`);
    await journal.append(names.map((topic) => update('', { topics: [topic, 'all'] })));
    const pages: (readonly string[])[] = [];
    let turns = 0;
    let isOver = false;
    const count = async (): Promise<void> => {
      for (; !isOver; turns++) await nextTurn();
    };
    const counting = count();
    for await (const page of journal.topics()) pages.push(page);
    isOver = true;
    await counting;
    equal(
      pages.map(({ length }) => length),
      [1000, 1000, 501],
    );
    equal(new Set(pages.flat()), new Set([...names, 'all']));
    ok(turns >= 2, 'each page in a turn of its own');
  });

  test('can be given up, and topics may come and go meanwhile', async ({ open }) => {
    const journal = await open({ maxUpdates: 3000 });
    const append = (from: number) =>
      journal.append(
        Array.from({ length: 1500 }, (_, n) => update('', { topics: [`topic ${from + n}`] })),
      );
    await append(0);
    for await (const page of journal.topics()) {
      equal(page.length, 1000);
      break;
    }
    let from = 1500;
    const seen = new Set<string>();
    for await (const page of journal.topics()) {
      for (const topic of page) seen.add(topic);
      if (from < 6000) await append(from);
      from += 1500;
    }
    ok(seen.size >= 1500);
    await until(async () => (await allTopics(journal)).length === 3000);
  });

  test('end with an error if the journal is closed between pages', async ({ open }) => {
    const journal = await open();
    await journal.append(
      Array.from({ length: 1500 }, (_, n) => update('', { topics: [`topic ${n}`] })),
    );
    const pages = journal.topics()[Symbol.asyncIterator]();
    await pages.next();
    await journal.close();
    await rejects(pages.next(), 'ERR_JOURNAL_CLOSED');
  });
});
