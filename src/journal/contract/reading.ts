import { BEGINNING, type EntryRef, type ReadRange } from '../journal.js';
import { equal } from './assertions.js';
import { group } from './case.js';
import { dataOf, NO_LIMIT, readAll, untilTrimmed, update } from './tools.js';

export const reading = group('read', (test) => {
  test('gives the entries after one and through another', async ({ open }) => {
    const journal = await open();
    const refs = await journal.append(['a', 'b', 'c', 'd'].map((data) => update(data)));
    const [a, b, , d] = refs.map(({ position }) => position) as [string, string, string, string];
    equal(dataOf(await readAll(journal, { after: b })), ['c', 'd']);
    equal(dataOf(await readAll(journal, { through: b })), ['a', 'b']);
    equal(dataOf(await readAll(journal, { after: a, through: d })), ['b', 'c', 'd']);
    equal(dataOf(await readAll(journal, { after: d })), []);
    equal(dataOf(await readAll(journal, { after: d, through: a })), []);
  });

  test('gives the entries from one on, itself included', async ({ open }) => {
    const journal = await open({ maxUpdates: 3 });
    const refs: EntryRef[] = [];
    for (const data of ['a', 'b', 'c', 'd', 'e']) {
      refs.push(...(await journal.append([update(data)])));
    }
    const read = (from: string | undefined, rest: Partial<ReadRange> = {}) =>
      journal.read({ ...NO_LIMIT, from, ...rest });
    const [a, b, c, d] = refs.map(({ position }) => position) as [string, string, string, string];
    await untilTrimmed(journal, 3);
    for (const topics of [undefined, ['t']]) {
      equal(dataOf((await read(d, { topics })).entries), ['d', 'e']);
      equal(dataOf((await read(d, { topics, through: d })).entries), ['d']);
      equal(dataOf((await read(a, { topics })).entries), ['c', 'd', 'e']);
    }
    for (const [from, trimmed] of [
      [a, true],
      [b, true],
      [c, false],
      [d, false],
    ] as const) {
      equal((await read(from)).trimmed, trimmed);
      equal((await read(from)).trimmedThrough, trimmed ? b : undefined);
    }
    const [epoch] = a.split('-').map(Number) as [number];
    equal(dataOf((await read(`${epoch - 1}-0`)).entries), ['c', 'd', 'e']);
    equal(dataOf((await read(BEGINNING)).entries), ['c', 'd', 'e']);
    equal((await read(`${epoch + 1_000_000}-0`)).entries, []);
  });

  test('takes positions it does not hold: of before, of after, and of other epochs', async ({
    open,
  }) => {
    const journal = await open();
    const [a] = await journal.append([update('a')]);
    const [epoch] = (a as EntryRef).position.split('-').map(Number) as [number];
    for (const [position, isBefore] of [
      [`${epoch - 1}-999`, true],
      [`${epoch}-999`, false],
      [`${epoch + 1}-0`, false],
      ['9999999999999-9', false],
    ] as const) {
      const rest = isBefore ? ['a'] : [];
      equal(dataOf(await readAll(journal, { after: position })), rest);
      equal(dataOf(await readAll(journal, { after: position, topics: ['t'] })), rest);
      const upTo = isBefore ? [] : ['a'];
      equal(dataOf(await readAll(journal, { through: position })), upTo);
      equal(dataOf(await readAll(journal, { through: position, topics: ['t'] })), upTo);
    }
  });

  test('gives only entries of the topics asked for, each once, in order', async ({ open }) => {
    const journal = await open();
    await journal.append([
      update('1', { topics: ['a'] }),
      update('2', { topics: ['b'] }),
      update('3', { topics: ['c', 'b', 'a'] }),
      update('4', { topics: ['c'] }),
      update('5', { topics: ['a', 'b'] }),
    ]);
    equal(dataOf(await readAll(journal, { topics: ['a'] })), ['1', '3', '5']);
    equal(dataOf(await readAll(journal, { topics: ['b', 'a'] })), ['1', '2', '3', '5']);
    equal(dataOf(await readAll(journal, { topics: ['a', 'a', 'none'] })), ['1', '3', '5']);
    equal(dataOf(await readAll(journal, { topics: [] })), []);
    equal(dataOf(await readAll(journal, { topics: ['none'] })), []);
    equal(dataOf(await readAll(journal, { topics: ['', 'x'.repeat(5000)] })), []);
  });

  test('gives no more entries than asked for, and goes on after the last', async ({ open }) => {
    const journal = await open();
    await journal.append(Array.from({ length: 25 }, (_, n) => update(`${n}`)));
    for (const topics of [undefined, ['t'], ['t', 'u']]) {
      const pages: number[] = [];
      const seen: string[] = [];
      let after: string | undefined;
      for (;;) {
        const { entries } = await journal.read({ ...NO_LIMIT, maxEntries: 10, after, topics });
        if (entries.length === 0) break;
        pages.push(entries.length);
        seen.push(...dataOf(entries));
        after = entries.at(-1)?.position;
      }
      equal(pages, [10, 10, 5]);
      equal(
        seen,
        Array.from({ length: 25 }, (_, n) => `${n}`),
      );
    }
  });

  test('stops once it has the length asked for, but gives at least one', async ({ open }) => {
    const journal = await open();
    await journal.append([update('12345'), update('67890'), update('🎉')]);
    const lengths = async (maxLength: number): Promise<number> =>
      (await readAll(journal, { maxLength })).length;
    equal(await lengths(0), 1);
    equal(await lengths(5), 1);
    equal(await lengths(6), 2);
    equal(await lengths(11), 3);
  });

  test('of many topics at once leaves nothing open behind it', async ({ open }) => {
    const journal = await open();
    const topics = Array.from({ length: 300 }, (_, n) => `topic ${n}`);
    await journal.append(topics.map((topic) => update(topic, { topics: [topic] })));
    for (let n = 0; n < 100; n++) {
      const { entries } = await journal.read({ ...NO_LIMIT, maxEntries: 3, topics });
      equal(dataOf(entries), topics.slice(0, 3));
    }
    await journal.append([update('still works')]);
  });
});

export const locating = group('locate', (test) => {
  test('finds ids held, given or own, and every position', async ({ open }) => {
    const journal = await open();
    const refs = await journal.append([update('a'), update('b', { id: 'own' })]);
    for (const { id, position } of refs) {
      equal(await journal.locate(id), { found: true, position });
      equal(await journal.locate(position), { found: true, position });
    }
  });

  test('finds the last that was trimmed, and tells of older ones that they were', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 1 });
    const [a] = await journal.append([update('a')]);
    const [own] = await journal.append([update('b', { id: 'own' })]);
    await journal.append([update('c')]);
    await untilTrimmed(journal, 1);
    for (const id of ['own', own?.position as string]) {
      equal(await journal.locate(id), { found: true, position: own?.position });
    }
    equal(await journal.locate(a?.id ?? ''), { found: false, reason: 'trimmed' });
    const [d] = await journal.append([update('d')]);
    await untilTrimmed(journal, 1);
    equal(await journal.locate('own'), { found: false, reason: 'unknown' });
    await journal.append([update('e')]);
    await untilTrimmed(journal, 1);
    equal(await journal.locate(d?.id ?? ''), { found: true, position: d?.position });
  });

  test('does not know what was never an id here, nor positions that are still to come', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 2 });
    for (const data of ['gone', 'gone', 'held']) await journal.append([update(data)]);
    const [own] = await journal.append([update('held', { id: 'own' })]);
    await untilTrimmed(journal, 2);
    const [epoch, sequence] = (own as EntryRef).position.split('-').map(Number) as [number, number];
    for (const id of [
      'never',
      '',
      'x'.repeat(5000),
      '\0',
      `${epoch}-${sequence + 1000}`,
      `${epoch + 1_000_000}-1`,
      '9999999999999999-9999999999999999',
    ]) {
      equal([id, await journal.locate(id)], [id, { found: false, reason: 'unknown' }]);
    }
    // Whether it had them once is not for every keeper to know.
    for (const id of [`${epoch - 1_000_000}-1`, '1000000000000-1']) {
      equal([id, (await journal.locate(id)).found], [id, false]);
    }
  });

  test('finds nothing in an empty journal', async ({ open }) => {
    const journal = await open();
    for (const id of ['x', `${Date.now()}-1`, '1000000000000-1']) {
      equal(await journal.locate(id), { found: false, reason: 'unknown' });
    }
  });
});
