import type { EntryRef, Journal, Update } from '../journal.js';
import { equal, matches } from './assertions.js';
import { type Context, group } from './case.js';
import { dataOf, NO_LIMIT, newestOf, readAll, untilTrimmed, update } from './tools.js';

export const shares = group('a publisher that floods', (test) => {
  const flood = async (journal: Journal, publisher: string, times = 100): Promise<EntryRef[]> => {
    const refs: EntryRef[] = [];
    for (let n = 0; n < times; n++) {
      refs.push(...(await journal.append([update(`${publisher} ${n}`, { publisher })])));
    }
    return refs;
  };

  test('trims its own updates, and those of the others stay', async ({ open }) => {
    const journal = await open({ maxUpdates: 20 });
    await flood(journal, 'bob', 5);
    await flood(journal, 'ada');
    await untilTrimmed(journal, 20);
    const held = dataOf(await readAll(journal));
    equal(held.slice(0, 5), ['bob 0', 'bob 1', 'bob 2', 'bob 3', 'bob 4']);
    equal(
      held.slice(5),
      Array.from({ length: 15 }, (_, n) => `ada ${85 + n}`),
    );
    equal(dataOf(await readAll(journal, { topics: ['t'] })), held);
    equal(dataOf(await newestOf(journal, 't', 16)), held.slice(4));
  });

  test('in one call of more than the journal keeps does so too', async ({ open }) => {
    const journal = await open({ maxUpdates: 20 });
    await flood(journal, 'bob', 8);
    await journal.append(
      Array.from({ length: 1000 }, (_, n) => update(`ada ${n}`, { publisher: 'ada' })),
    );
    await untilTrimmed(journal, 20);
    const held = dataOf(await readAll(journal));
    equal(held.filter((data) => data.startsWith('bob')).length, 8);
    equal(held.at(-1), 'ada 999');
  });

  test('with large updates does so by their bytes', async ({ open, overhead }) => {
    const smallest = overhead.update + overhead.topic + 1;
    const journal = await open({ maxBytes: 30 * smallest + 95_000 });
    await flood(journal, 'bob', 20);
    for (let n = 0; n < 100; n++) {
      await journal.append([update('x'.repeat(10_000), { publisher: 'ada' })]);
    }
    await untilTrimmed(journal, 29);
    const held = await readAll(journal);
    equal(held.filter(({ publisher }) => publisher === 'bob').length, 20);
    equal(held.filter(({ publisher }) => publisher === 'ada').length, 9);
  });

  test('alone has all of the journal, oldest first', async ({ open }) => {
    const journal = await open({ maxUpdates: 20 });
    await flood(journal, 'ada');
    await untilTrimmed(journal, 20);
    equal(
      dataOf(await readAll(journal)),
      Array.from({ length: 20 }, (_, n) => `ada ${80 + n}`),
    );
  });

  test('leaves the others no less than the rest of the limit', async ({ open }) => {
    const journal = await open({ maxUpdates: 20, publisherShare: 0.25 });
    for (const publisher of ['a', 'b', 'c']) await flood(journal, publisher, 5);
    await flood(journal, 'ada');
    await untilTrimmed(journal, 20);
    const held = await readAll(journal);
    for (const publisher of ['a', 'b', 'c', 'ada']) {
      equal(held.filter((entry) => entry.publisher === publisher).length, 5);
    }
  });

  test('is not held to a share of 1', async ({ open }) => {
    const journal = await open({ maxUpdates: 20, publisherShare: 1 });
    await flood(journal, 'bob', 5);
    await flood(journal, 'ada');
    await untilTrimmed(journal, 20);
    equal(
      (await readAll(journal)).every(({ publisher }) => publisher === 'ada'),
      true,
    );
  });

  test('if nobody has more than a share, the oldest of all is trimmed', async ({ open }) => {
    const journal = await open({ maxUpdates: 6 });
    for (let n = 0; n < 5; n++) {
      for (const publisher of ['a', 'b', 'c']) await flood(journal, publisher, 1);
    }
    await untilTrimmed(journal, 6);
    const held = (await readAll(journal)).map(({ publisher }) => publisher);
    equal(held, ['a', 'b', 'c', 'a', 'b', 'c']);
  });

  test('may have no name: all without one have one share', async ({ open }) => {
    const journal = await open({ maxUpdates: 20 });
    await flood(journal, 'bob', 5);
    for (let n = 0; n < 100; n++) await journal.append([update(`${n}`)]);
    await untilTrimmed(journal, 20);
    equal(dataOf(await readAll(journal)).slice(0, 6), [
      'bob 0',
      'bob 1',
      'bob 2',
      'bob 3',
      'bob 4',
      '85',
    ]);
  });

  test('may have any name of up to 256 bytes, even that of what is counted beside publishers', async ({
    open,
  }) => {
    for (const publisher of ['transient', 'nobody', '\0', '🎉'.repeat(64), 'publisher bob']) {
      const journal = await open({ maxUpdates: 20 });
      await journal.append([update('state', { transient: true }), update('unnamed')]);
      await flood(journal, 'bob', 5);
      await flood(journal, publisher, 50);
      await untilTrimmed(journal, 21);
      const held = dataOf(await readAll(journal));
      equal(held.slice(0, 3), ['state', 'unnamed', 'bob 0']);
      equal(held.length, 21);
    }
  });

  test('is told of: a reader from before the newest trimmed has missed something', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 20 });
    const [bob] = await flood(journal, 'bob', 5);
    const ada = await flood(journal, 'ada', 30);
    await untilTrimmed(journal, 20);
    // The newest trimmed is ada 14.
    const read = (after: EntryRef | undefined) =>
      journal.read({ ...NO_LIMIT, after: after?.position });
    const newestTrimmed = ada[14]?.position;
    for (const after of [bob, ada[0], ada[13]]) {
      matches(await read(after), { trimmed: true, trimmedThrough: newestTrimmed });
    }
    for (const after of [undefined, ada[14], ada[15], ada[29]]) {
      const result = await read(after);
      equal(result.trimmed, false);
      equal(result.trimmedThrough, undefined);
    }
    const where = async (ref: EntryRef | undefined) => journal.locate(ref?.id ?? '');
    equal(await where(ada[13]), { found: true, position: ada[13]?.position });
    equal(await where(ada[14]), { found: true, position: newestTrimmed });
    equal(await where(ada[15]), { found: true, position: ada[15]?.position });
    equal(await where(bob), { found: true, position: bob?.position });
  });
});

export const trimmedTopics = group('the topics of what was trimmed', (test) => {
  /** Bob's updates are the oldest; Ada's flood, of these topics in turn, is trimmed from behind them. */
  const flooded = async ({ open }: Context, topics: string[], rest: Partial<Update> = {}) => {
    const journal = await open({ maxUpdates: 20 });
    const [bob] = await journal.append(
      Array.from({ length: 5 }, () => update('', { publisher: 'bob', topics: ['b'] })),
    );
    const refs: EntryRef[] = [];
    for (let n = 0; n < topics.length; n += 500) {
      const some = topics
        .slice(n, n + 500)
        .map((topic) => update('', { publisher: 'ada', topics: [topic], ...rest }));
      refs.push(...(await journal.append(some)));
    }
    await untilTrimmed(journal, 20);
    return { journal, bob: bob as EntryRef, refs };
  };
  const times = (count: number, ...topics: string[]): string[] =>
    Array.from({ length: count }, () => topics).flat();
  const a = { topic: 'a', private: false };

  test('are those of a publisher that floods, and not those of the others', async (context) => {
    const { journal, bob, refs } = await flooded(context, times(100, 'a'));
    equal(await journal.trimmedTopics(bob.position), [a]);
    equal(await journal.trimmedTopics(bob.position, ['b', 'other']), []);
    equal(await journal.trimmedTopics(bob.position, ['b', 'a']), [a]);
    equal(await journal.trimmedTopics(refs[83]?.position as string, ['a']), [a]);
    equal(await journal.trimmedTopics(refs[84]?.position as string, ['a']), []);
  });

  test('are known each by the newest that was trimmed', async (context) => {
    const { journal, bob, refs } = await flooded(context, [...times(10, 'a'), ...times(90, 'c')]);
    const topics = async (after: EntryRef | undefined) =>
      (await journal.trimmedTopics(after?.position as string))?.map(({ topic }) => topic).sort();
    equal(await topics(bob), ['a', 'c']);
    equal(await topics(refs[8]), ['a', 'c']);
    equal(await topics(refs[9]), ['c']);
  });

  test('tell private updates from public ones', async (context) => {
    const { journal, bob } = await flooded(context, times(100, 'a'), { private: true });
    const secret = { topic: 'a', private: true };
    equal(await journal.trimmedTopics(bob.position), [secret]);
    await journal.append(
      Array.from({ length: 50 }, () => update('', { publisher: 'ada', topics: ['a'] })),
    );
    await untilTrimmed(journal, 20);
    equal(await journal.trimmedTopics(bob.position, ['a']), [a, secret]);
  });

  test('are not known of what was trimmed from the front: that may be of any topic', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 20 });
    const refs = await journal.append(Array.from({ length: 20 }, () => update('')));
    for (let n = 0; n < 10; n++) await journal.append([update('')]);
    await untilTrimmed(journal, 20);
    const missedAfter = async (n: number) =>
      journal.trimmedTopics(refs[n]?.position as string, ['b']);
    equal(await missedAfter(0), undefined);
    equal(await missedAfter(8), undefined);
    equal(await missedAfter(9), []);
  });

  test('are all that there are beyond 10,000: nobody misses one without being told', async (context) => {
    const names = Array.from({ length: 12_000 }, (_, n) => `topic ${n}`);
    const { journal, bob, refs } = await flooded(context, names);
    equal(await journal.trimmedTopics(bob.position, ['b']), undefined);
    for (let n = 0; n < refs.length; n += 97) {
      const { position } = refs[n] as EntryRef;
      const told = await journal.trimmedTopics(position);
      if (n < 1900) equal(told, undefined);
      if (n > 3000) equal(told?.length, Math.max(12_000 - 15 - n - 1, 0));
    }
  });

  test('are all that there are beyond a mebibyte of them, too', async (context) => {
    const names = Array.from({ length: 2_000 }, (_, n) => `${n}`.padEnd(1024, 'x'));
    const { journal, bob, refs } = await flooded(context, names);
    equal(await journal.trimmedTopics(bob.position, ['b']), undefined);
    const late = await journal.trimmedTopics(refs[1_500]?.position as string);
    equal(late?.length, 2_000 - 15 - 1_501);
  });

  test('do not hide where their updates stood: a client can read on from there', async (context) => {
    const { journal, refs } = await flooded(context, times(100, 'a'));
    for (const { id, position } of [refs[0], refs[50], refs[99]] as EntryRef[]) {
      equal(await journal.locate(id), { found: true, position });
    }
  });
});
