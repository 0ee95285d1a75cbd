import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import {
  comparePositions,
  type Entry,
  type EntryRef,
  type Journal,
  positionAfter,
  type Retention,
  type Update,
} from '../../src/journal/journal.js';
import {
  allTopics,
  dataOf,
  KEEP_ALL,
  NO_LIMIT,
  newestOf,
  readAll,
  until,
  update,
} from './journal-contract.js';

/**
 * Tests what a keeper keeps, of whom and for how long, and what it tells of what it has trimmed.
 *
 * @param overhead what it counts in bytes for an update, and for each of its topics, beside their text.
 */
export function testRetention(
  open: (retention: Retention) => Promise<Journal>,
  overhead: { update: number; topic: number },
): void {
  /** What an update of the topic `t` counts. */
  const smallest = overhead.update + overhead.topic + 1;
  const opened: Journal[] = [];

  const openOne = async (retention: Partial<Retention> = {}): Promise<Journal> => {
    const journal = await open({ ...KEEP_ALL, ...retention });
    opened.push(journal);
    return journal;
  };

  afterEach(async () => {
    jest.restoreAllMocks();
    await Promise.all(opened.splice(0).map((journal) => journal.close()));
  });

  describe('a limit in bytes', () => {
    test('keeps the newest updates that come to so many', async () => {
      const size = smallest + 1000;
      const journal = await openOne({ maxBytes: 10 * size });
      for (let n = 0; n < 25; n++) await journal.append([update(`${n}`.padEnd(1000))]);
      const kept = dataOf(await readAll(journal)).map((data) => data.trim());
      expect(kept).toEqual(Array.from({ length: 10 }, (_, n) => `${15 + n}`));
    });

    test(`counts topics, data, type and own id in UTF-8, ${overhead.update} and ${overhead.topic} for each topic`, async () => {
      const given = update('dätä', { topics: ['é', '🎉'], type: 'ü', id: 'ï' });
      const size = overhead.update + overhead.topic * 2 + 2 + 4 + 6 + 2 + 2;
      for (const [maxBytes, held] of [
        [2 * size, 2],
        [2 * size - 1, 1],
      ] as const) {
        const journal = await openOne({ maxBytes });
        await journal.append([given, { ...given, id: 'ö' }]);
        await until(async () => (await readAll(journal)).length === held);
        expect(await readAll(journal)).toHaveLength(held);
      }
    });

    test('is not outrun by large updates that take the place of many small ones', async () => {
      const maxBytes = 2_000_000;
      const journal = await openOne({ maxBytes });
      await journal.append(Array.from({ length: 7000 }, () => update('small')));
      for (let n = 0; n < 10; n++) {
        await journal.append([update('x'.repeat(500_000))]);
        const held = (await readAll(journal)).reduce(
          (sum, { data }) => sum + smallest + data.length,
          0,
        );
        expect(held).toBeLessThanOrEqual(maxBytes);
      }
    });

    test('of 0 is none', async () => {
      const journal = await openOne({ maxBytes: 0 });
      for (let n = 0; n < 5; n++) await journal.append([update('x'.repeat(1_000_000))]);
      expect(await readAll(journal)).toHaveLength(5);
    });
  });

  describe('a publisher that floods', () => {
    const flood = async (journal: Journal, publisher: string, times = 100): Promise<EntryRef[]> => {
      const refs: EntryRef[] = [];
      for (let n = 0; n < times; n++) {
        refs.push(...(await journal.append([update(`${publisher} ${n}`, { publisher })])));
      }
      return refs;
    };

    test('trims its own updates, and those of the others stay', async () => {
      const journal = await openOne({ maxUpdates: 20 });
      await flood(journal, 'bob', 5);
      await flood(journal, 'ada');
      const held = dataOf(await readAll(journal));
      expect(held.slice(0, 5)).toEqual(['bob 0', 'bob 1', 'bob 2', 'bob 3', 'bob 4']);
      expect(held.slice(5)).toEqual(Array.from({ length: 15 }, (_, n) => `ada ${85 + n}`));
      expect(dataOf(await readAll(journal, { topics: ['t'] }))).toEqual(held);
      expect(dataOf(await newestOf(journal, 't', 16))).toEqual(held.slice(4));
    });

    test('in one call of more than the journal keeps does so too', async () => {
      const journal = await openOne({ maxUpdates: 20 });
      await flood(journal, 'bob', 8);
      await journal.append(
        Array.from({ length: 1000 }, (_, n) => update(`ada ${n}`, { publisher: 'ada' })),
      );
      await until(async () => (await readAll(journal)).length <= 20);
      const held = dataOf(await readAll(journal));
      expect(held.filter((data) => data.startsWith('bob'))).toHaveLength(8);
      expect(held.at(-1)).toBe('ada 999');
    });

    test('with large updates does so by their bytes', async () => {
      const journal = await openOne({ maxBytes: 30 * smallest + 95_000 });
      await flood(journal, 'bob', 20);
      for (let n = 0; n < 100; n++) {
        await journal.append([update('x'.repeat(10_000), { publisher: 'ada' })]);
      }
      const held = await readAll(journal);
      expect(held.filter(({ publisher }) => publisher === 'bob')).toHaveLength(20);
      expect(held.filter(({ publisher }) => publisher === 'ada')).toHaveLength(9);
    });

    test('alone has all of the journal, oldest first', async () => {
      const journal = await openOne({ maxUpdates: 20 });
      await flood(journal, 'ada');
      expect(dataOf(await readAll(journal))).toEqual(
        Array.from({ length: 20 }, (_, n) => `ada ${80 + n}`),
      );
    });

    test('leaves the others no less than the rest of the limit', async () => {
      const journal = await openOne({ maxUpdates: 20, publisherShare: 0.25 });
      for (const publisher of ['a', 'b', 'c']) await flood(journal, publisher, 5);
      await flood(journal, 'ada');
      const held = await readAll(journal);
      for (const publisher of ['a', 'b', 'c', 'ada']) {
        expect(held.filter((entry) => entry.publisher === publisher)).toHaveLength(5);
      }
    });

    test('is not held to a share of 1', async () => {
      const journal = await openOne({ maxUpdates: 20, publisherShare: 1 });
      await flood(journal, 'bob', 5);
      await flood(journal, 'ada');
      expect((await readAll(journal)).every(({ publisher }) => publisher === 'ada')).toBe(true);
    });

    test('if nobody has more than a share, the oldest of all is trimmed', async () => {
      const journal = await openOne({ maxUpdates: 6 });
      for (let n = 0; n < 5; n++) {
        for (const publisher of ['a', 'b', 'c']) await flood(journal, publisher, 1);
      }
      const held = (await readAll(journal)).map(({ publisher }) => publisher);
      expect(held).toEqual(['a', 'b', 'c', 'a', 'b', 'c']);
    });

    test('may have no name: all without one have one share', async () => {
      const journal = await openOne({ maxUpdates: 20 });
      await flood(journal, 'bob', 5);
      for (let n = 0; n < 100; n++) await journal.append([update(`${n}`)]);
      expect(dataOf(await readAll(journal)).slice(0, 6)).toEqual([
        'bob 0',
        'bob 1',
        'bob 2',
        'bob 3',
        'bob 4',
        '85',
      ]);
    });

    test('may have any name of up to 256 bytes, even that of what is counted beside publishers', async () => {
      for (const publisher of ['transient', 'nobody', '\0', '🎉'.repeat(64), 'publisher bob']) {
        const journal = await openOne({ maxUpdates: 20 });
        await journal.append([update('state', { transient: true }), update('unnamed')]);
        await flood(journal, 'bob', 5);
        await flood(journal, publisher, 50);
        const held = dataOf(await readAll(journal));
        expect(held.slice(0, 3)).toEqual(['state', 'unnamed', 'bob 0']);
        expect(held).toHaveLength(21);
      }
    });

    test('does not keep what is too old: age is the same for all', async () => {
      const start = Date.now();
      const now = jest.spyOn(Date, 'now').mockReturnValue(start);
      const journal = await openOne({ maxAgeMs: 1_000_000, maxUpdates: 20 });
      await flood(journal, 'bob', 5);
      await flood(journal, 'ada', 50);
      now.mockReturnValue(start + 1_000_001);
      await journal.append([update('young')]);
      expect(dataOf(await readAll(journal))).toEqual(['young']);
    });

    test('is told of: a reader from before the newest trimmed has missed something', async () => {
      const journal = await openOne({ maxUpdates: 20 });
      const [bob] = await flood(journal, 'bob', 5);
      const ada = await flood(journal, 'ada', 30);
      // The newest trimmed is ada 14.
      const read = (after: EntryRef | undefined) =>
        journal.read({ ...NO_LIMIT, after: after?.position });
      const newestTrimmed = ada[14]?.position;
      for (const after of [bob, ada[0], ada[13]]) {
        expect(await read(after)).toMatchObject({ trimmed: true, trimmedThrough: newestTrimmed });
      }
      for (const after of [undefined, ada[14], ada[15], ada[29]]) {
        const result = await read(after);
        expect(result.trimmed).toBe(false);
        expect(result.trimmedThrough).toBeUndefined();
      }
      const where = async (ref: EntryRef | undefined) => journal.locate(ref?.id ?? '');
      expect(await where(ada[13])).toEqual({ found: true, position: ada[13]?.position });
      expect(await where(ada[14])).toEqual({ found: true, position: newestTrimmed });
      expect(await where(ada[15])).toEqual({ found: true, position: ada[15]?.position });
      expect(await where(bob)).toEqual({ found: true, position: bob?.position });
    });
  });

  describe('the topics of what was trimmed', () => {
    /** Bob's updates are the oldest; Ada's flood, of these topics in turn, is trimmed from behind them. */
    const flooded = async (topics: string[], rest: Partial<Update> = {}) => {
      const journal = await openOne({ maxUpdates: 20 });
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
      await until(async () => (await readAll(journal)).length <= 20);
      return { journal, bob: bob as EntryRef, refs };
    };
    const times = (count: number, ...topics: string[]): string[] =>
      Array.from({ length: count }, () => topics).flat();
    const a = { topic: 'a', private: false };

    test('are those of a publisher that floods, and not those of the others', async () => {
      const { journal, bob, refs } = await flooded(times(100, 'a'));
      expect(await journal.trimmedTopics(bob.position)).toEqual([a]);
      expect(await journal.trimmedTopics(bob.position, ['b', 'other'])).toEqual([]);
      expect(await journal.trimmedTopics(bob.position, ['b', 'a'])).toEqual([a]);
      expect(await journal.trimmedTopics(refs[83]?.position as string, ['a'])).toEqual([a]);
      expect(await journal.trimmedTopics(refs[84]?.position as string, ['a'])).toEqual([]);
    });

    test('are known each by the newest that was trimmed', async () => {
      const { journal, bob, refs } = await flooded([...times(10, 'a'), ...times(90, 'c')]);
      const topics = async (after: EntryRef | undefined) =>
        (await journal.trimmedTopics(after?.position as string))?.map(({ topic }) => topic).sort();
      expect(await topics(bob)).toEqual(['a', 'c']);
      expect(await topics(refs[8])).toEqual(['a', 'c']);
      expect(await topics(refs[9])).toEqual(['c']);
    });

    test('tell private updates from public ones', async () => {
      const { journal, bob } = await flooded(times(100, 'a'), { private: true });
      const secret = { topic: 'a', private: true };
      expect(await journal.trimmedTopics(bob.position)).toEqual([secret]);
      await journal.append(
        Array.from({ length: 50 }, () => update('', { publisher: 'ada', topics: ['a'] })),
      );
      await until(async () => (await readAll(journal)).length <= 20);
      expect(await journal.trimmedTopics(bob.position, ['a'])).toEqual([a, secret]);
    });

    test('are not known of what was trimmed from the front: that may be of any topic', async () => {
      const journal = await openOne({ maxUpdates: 20 });
      const refs = await journal.append(Array.from({ length: 20 }, () => update('')));
      for (let n = 0; n < 10; n++) await journal.append([update('')]);
      const missedAfter = async (n: number) =>
        journal.trimmedTopics(refs[n]?.position as string, ['b']);
      expect(await missedAfter(0)).toBeUndefined();
      expect(await missedAfter(8)).toBeUndefined();
      expect(await missedAfter(9)).toEqual([]);
    });

    test('are all that there are beyond 10,000: nobody misses one without being told', async () => {
      const names = Array.from({ length: 12_000 }, (_, n) => `topic ${n}`);
      const { journal, bob, refs } = await flooded(names);
      expect(await journal.trimmedTopics(bob.position, ['b'])).toBeUndefined();
      for (let n = 0; n < refs.length; n += 97) {
        const { position } = refs[n] as EntryRef;
        const told = await journal.trimmedTopics(position);
        if (n < 1900) expect(told).toBeUndefined();
        if (n > 3000) expect(told).toHaveLength(Math.max(12_000 - 15 - n - 1, 0));
      }
    });

    test('are all that there are beyond a mebibyte of them, too', async () => {
      const names = Array.from({ length: 2_000 }, (_, n) => `${n}`.padEnd(1024, 'x'));
      const { journal, bob, refs } = await flooded(names);
      expect(await journal.trimmedTopics(bob.position, ['b'])).toBeUndefined();
      const late = await journal.trimmedTopics(refs[1_500]?.position as string);
      expect(late).toHaveLength(2_000 - 15 - 1_501);
    });

    test('do not hide where their updates stood: a client can read on from there', async () => {
      const { journal, refs } = await flooded(times(100, 'a'));
      for (const { id, position } of [refs[0], refs[50], refs[99]] as EntryRef[]) {
        expect(await journal.locate(id)).toEqual({ found: true, position });
      }
    });
  });

  describe('transient updates', () => {
    const states = (count: number, from = 0): Update[] =>
      Array.from({ length: count }, (_, n) =>
        update(`state ${from + n}`, { transient: true, topics: ['states'] }),
      );
    const lasting = (entries: readonly Entry[]): string[] =>
      dataOf(entries.filter(({ transient }) => !transient));

    test('trim no others, however many there are, and keep the newest so many', async () => {
      const journal = await openOne({ maxUpdates: 10, maxTransient: 5 });
      const [first] = await journal.append(Array.from({ length: 10 }, (_, n) => update(`${n}`)));
      for (let n = 0; n < 100; n++) await journal.append(states(10, n * 10));
      await until(async () => (await readAll(journal)).length <= 15);
      const held = await readAll(journal);
      expect(lasting(held)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
      expect(dataOf(held).slice(10)).toEqual(dataOf(states(5, 995) as Entry[]));
      expect(await journal.read({ ...NO_LIMIT, after: first?.position })).toMatchObject({
        trimmed: false,
        trimmedTransient: true,
      });
    });

    test('are 10,000 by default, and have no more than 16 MiB', async () => {
      const journal = await openOne();
      for (let n = 0; n < 12; n++) await journal.append(states(1000, n * 1000));
      await until(async () => (await readAll(journal)).length <= 10_000);
      expect(await readAll(journal)).toHaveLength(10_000);
      const large = update('x'.repeat(1024 * 1024), { transient: true });
      for (let n = 0; n < 20; n++) await journal.append([large]);
      await until(async () => (await readAll(journal)).length <= 15);
      expect(await readAll(journal)).toHaveLength(15);
    });

    test('count to no limit of the others, nor are they trimmed for them', async () => {
      const journal = await openOne({ maxUpdates: 10, maxBytes: 10 * (smallest + 10) - 1 });
      await journal.append(states(100));
      for (let n = 0; n < 50; n++) await journal.append([update(`${n}`.padStart(10))]);
      const held = await readAll(journal);
      expect(lasting(held)).toEqual(Array.from({ length: 9 }, (_, n) => `${41 + n}`.padStart(10)));
      expect(held).toHaveLength(109);
      const from = held[0]?.position;
      expect((await journal.read({ ...NO_LIMIT, from })).trimmedTransient).toBe(false);
    });

    test('become too old like all others', async () => {
      const start = Date.now();
      const now = jest.spyOn(Date, 'now').mockReturnValue(start);
      const journal = await openOne({ maxAgeMs: 1_000_000 });
      const refs = await journal.append([update('a'), ...states(2)]);
      now.mockReturnValue(start + 1_000_001);
      await journal.append([update('young')]);
      expect(dataOf(await readAll(journal))).toEqual(['young']);
      expect(await journal.read({ ...NO_LIMIT, after: refs[0]?.position })).toMatchObject({
        trimmed: false,
        trimmedTransient: true,
      });
    });

    test('can be read on from when they are gone, unless an update after them is', async () => {
      const journal = await openOne({ maxUpdates: 1, maxTransient: 1 });
      const [early] = await journal.append(states(1));
      await journal.append([update('a')]);
      const [state] = await journal.append(states(1));
      const [b] = await journal.append([update('b')]); // Trims a.
      await journal.append(states(1));
      expect(await journal.locate(state?.id ?? '')).toEqual({
        found: true,
        position: state?.position,
      });
      expect(await journal.locate(early?.id ?? '')).toEqual({ found: false, reason: 'trimmed' });
      await journal.append([update('c'), update('d')]);
      await until(async () => lasting(await readAll(journal)).length === 1);
      expect(await journal.locate(state?.id ?? '')).toEqual({ found: false, reason: 'trimmed' });
      expect(await journal.locate(b?.id ?? '')).toEqual({ found: false, reason: 'trimmed' });
    });
  });

  describe('ages', () => {
    const DAY_MS = 86_400_000;
    const MAX_AGE_MS = 3_600_000;

    /** Appends an update at each of these times of the machine's clock; none is a look at it only. */
    const play = async (times: readonly [ms: number, data?: string][]): Promise<string[]> => {
      const start = Date.now();
      const now = jest.spyOn(Date, 'now').mockReturnValue(start);
      const journal = await openOne({ maxAgeMs: MAX_AGE_MS });
      for (const [ms, data] of times) {
        now.mockReturnValue(start + ms);
        // Many times, so that whatever is to be trimmed in small steps is.
        for (let n = 0; n < 3; n++) await journal.ping();
        if (data !== undefined) await journal.append([update(data)]);
      }
      return dataOf(await readAll(journal));
    };

    test('are right after the clock was ahead: what was appended then is trimmed in its time', async () => {
      const past = MAX_AGE_MS + 1000;
      expect(
        await play([
          [DAY_MS, 'a'],
          [0, 'b'],
          [past, 'c'],
        ]),
      ).toEqual(['c']);
      expect(
        await play([
          [DAY_MS, 'a'],
          [0, 'b'],
          [past / 2, 'c'],
          [past, 'd'],
        ]),
      ).toEqual(['c', 'd']);
      expect(
        await play([
          [0, 'a'],
          [10 * DAY_MS, 'b'],
          [1000, 'c'],
          [2000 + MAX_AGE_MS, 'd'],
        ]),
      ).toEqual(['d']);
    });

    test('do not become more when the clock goes back', async () => {
      expect(
        await play([
          [0, 'a'],
          [-DAY_MS, 'b'],
          [-DAY_MS + MAX_AGE_MS / 2, 'c'],
        ]),
      ).toEqual(['a', 'b', 'c']);
    });

    test('do not become more when a clock that was behind is right again', async () => {
      expect(
        await play([
          [0, 'a'],
          [-DAY_MS, 'b'],
          [60_000, 'c'],
        ]),
      ).toEqual(['a', 'b', 'c']);
      const late = MAX_AGE_MS + 60_001;
      expect(
        await play([
          [0, 'a'],
          [-DAY_MS, 'b'],
          [60_000, 'c'],
          [late, 'd'],
        ]),
      ).toEqual(['d']);
    });
  });

  describe('own ids in scopes', () => {
    const inScope = (scope: string | undefined, data: string, rest: Partial<Update> = {}): Update =>
      update(data, { id: 'x', scope, ...rest });

    test('are ids of different updates, each with its own repeats', async () => {
      const journal = await openOne();
      const scopes = [undefined, '', 'a', 'b', 'x'];
      const refs: EntryRef[] = [];
      for (const scope of scopes)
        refs.push(...(await journal.append([inScope(scope, `of ${scope}`)])));
      expect(new Set(refs.map(({ position }) => position)).size).toBe(scopes.length);
      for (const [index, scope] of scopes.entries()) {
        expect(await journal.append([inScope(scope, `of ${scope}`)])).toEqual([refs[index]]);
        const taken = journal.append([inScope(scope, 'other')]);
        await expect(taken).rejects.toMatchObject({ code: 'ERR_ID_TAKEN' });
      }
      expect(await readAll(journal)).toHaveLength(scopes.length);
    });

    test('are so for calls under way together and within one call', async () => {
      const journal = await openOne();
      const results = await Promise.allSettled([
        journal.append([inScope('a', 'one'), inScope('b', 'two')]),
        journal.append([inScope('a', 'one')]),
        journal.append([inScope('b', 'one'), update('with it', { id: 'y', scope: 'b' })]),
        journal.append([update('free', { id: 'y', scope: 'b' })]),
      ]);
      expect(results.map(({ status }) => status)).toEqual([
        'fulfilled',
        'fulfilled',
        'rejected',
        'fulfilled',
      ]);
      expect(dataOf(await readAll(journal))).toEqual(['one', 'two', 'free']);
    });

    test('are located as the oldest that is admitted, and unknown if none is', async () => {
      const journal = await openOne();
      const [secret] = await journal.append([inScope('a', 'secret', { private: true })]);
      const [open] = await journal.append([inScope('b', 'open', { topics: ['u'] })]);
      await journal.append([inScope('c', 'open too')]);
      expect(await journal.locate('x')).toEqual({ found: true, position: secret?.position });
      const admitted = (admits: Parameters<Journal['locate']>[1]) => journal.locate('x', admits);
      expect(await admitted((entry) => !entry.private)).toEqual({
        found: true,
        position: open?.position,
      });
      expect(await admitted(() => false)).toEqual({ found: false, reason: 'unknown' });
      expect(await admitted(() => false)).toEqual(await journal.locate('never', () => false));
      // Positions are no secret.
      expect(await journal.locate(secret?.position ?? '', () => false)).toMatchObject({
        found: true,
      });
    });

    test('are asked about also of the newest that was trimmed', async () => {
      const journal = await openOne({ maxUpdates: 1 });
      const [secret] = await journal.append([inScope('a', 'secret', { private: true })]);
      await journal.append([update('b')]);
      const seen: unknown[] = [];
      const located = await journal.locate('x', ({ topics, private: isPrivate }) => {
        seen.push(topics, isPrivate);
        return false;
      });
      expect(located).toEqual({ found: false, reason: 'unknown' });
      expect(seen).toEqual([['t'], true]);
      expect(await journal.locate('x', () => true)).toEqual({
        found: true,
        position: secret?.position,
      });
    });

    test('are free in one when its entry is trimmed, and held in the others', async () => {
      const journal = await openOne({ maxUpdates: 2 });
      await journal.append([inScope('a', 'one')]);
      const [b] = await journal.append([inScope('b', 'two')]);
      await journal.append([inScope('c', 'three')]);
      expect(await journal.locate('x')).toEqual({ found: true, position: b?.position });
      await expect(journal.append([inScope('b', 'other')])).rejects.toThrow(/"x"/);
      await journal.append([inScope('a', 'other')]);
    });
  });

  describe('topics', () => {
    test('come in pages of at most 1,000, each in a turn of its own', async () => {
      const journal = await openOne();
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
      expect(pages.map(({ length }) => length)).toEqual([1000, 1000, 501]);
      expect(new Set(pages.flat())).toEqual(new Set([...names, 'all']));
      expect(turns).toBeGreaterThanOrEqual(2);
    });

    test('can be given up, and topics may come and go meanwhile', async () => {
      const journal = await openOne({ maxUpdates: 3000 });
      const append = (from: number) =>
        journal.append(
          Array.from({ length: 1500 }, (_, n) => update('', { topics: [`topic ${from + n}`] })),
        );
      await append(0);
      for await (const page of journal.topics()) {
        expect(page).toHaveLength(1000);
        break;
      }
      let from = 1500;
      const seen = new Set<string>();
      for await (const page of journal.topics()) {
        for (const topic of page) seen.add(topic);
        if (from < 6000) await append(from);
        from += 1500;
      }
      expect(seen.size).toBeGreaterThanOrEqual(1500);
      await until(async () => (await allTopics(journal)).length === 3000);
    });

    test('end with an error if the journal is closed between pages', async () => {
      const journal = await openOne();
      await journal.append(
        Array.from({ length: 1500 }, (_, n) => update('', { topics: [`topic ${n}`] })),
      );
      const pages = journal.topics()[Symbol.asyncIterator]();
      await pages.next();
      await journal.close();
      await expect(pages.next()).rejects.toMatchObject({ code: 'ERR_JOURNAL_CLOSED' });
    });
  });

  test('newest before a position pages backwards through a topic', async () => {
    const journal = await openOne();
    const refs = await journal.append(
      Array.from({ length: 10 }, (_, n) => update(`${n}`, { topics: [n % 2 ? 'odd' : 'even'] })),
    );
    const position = (n: number): string => refs[n]?.position ?? '';
    const newest = async (count: number, before: string): Promise<string[]> =>
      dataOf(await newestOf(journal, 'odd', count, { before }));
    expect(await newest(2, position(9))).toEqual(['5', '7']);
    expect(await newest(2, position(8))).toEqual(['5', '7']);
    expect(await newest(2, positionAfter(position(9)))).toEqual(['7', '9']);
    expect(await newest(10, position(3))).toEqual(['1']);
    expect(await newest(10, position(1))).toEqual([]);
    const [epoch, sequence] = position(1).split('-').map(Number) as [number, number];
    expect(await newest(10, `${epoch}-0`)).toEqual([]);
    expect(await newest(10, `${epoch - 1}-${sequence}`)).toEqual([]);
    expect(await newest(2, `${epoch + 1}-0`)).toEqual(['7', '9']);
    expect(comparePositions(position(4), positionAfter(position(4)))).toBeLessThan(0);
  });

  test('behaves like the simplest journal there could be, whoever publishes what', async () => {
    const shapes = fc.record({
      publisher: fc.constantFrom(undefined, 'ada', 'bob', 'eve'),
      transient: fc.constantFrom(undefined, undefined, true),
      topics: fc.uniqueArray(fc.constantFrom('a', 'b'), { minLength: 1 }),
      private: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(shapes, { maxLength: 60 }), async (script) => {
        const limits = { maxUpdates: 8, maxTransient: 3 };
        const journal = await openOne(limits);
        const model = new RetentionModel(limits);
        for (const [n, shape] of script.entries()) {
          const [ref] = await journal.append([update(`${n}`, shape)]);
          model.append({ ...update(`${n}`, shape), ...(ref as EntryRef) });
        }
        expect(dataOf(await readAll(journal))).toEqual(dataOf(model.held));
        for (const topic of ['a', 'b']) {
          const ofTopic = model.held.filter(({ topics }) => topics.includes(topic));
          expect(dataOf(await readAll(journal, { topics: [topic] }))).toEqual(dataOf(ofTopic));
          expect(dataOf(await newestOf(journal, topic, 2))).toEqual(dataOf(ofTopic.slice(-2)));
        }
        for (const { position } of model.all) {
          expect(await journal.trimmedTopics(position, ['a', 'b'])).toEqual(
            model.trimmedTopics(position),
          );
          const isMissed = (trimmed: readonly Entry[]): boolean =>
            trimmed.some((entry) => comparePositions(entry.position, position) > 0);
          expect(await journal.read({ ...NO_LIMIT, after: position })).toMatchObject({
            trimmed: isMissed(model.trimmed.filter(({ transient }) => !transient)),
            trimmedTransient: isMissed(model.trimmed.filter(({ transient }) => transient)),
          });
        }
        await journal.close();
      }),
      { numRuns: 40 },
    );
  });
}

/** Everything in one array, and counted anew each time. Its limits are even, so that no two have most. */
class RetentionModel {
  readonly all: Entry[] = [];
  held: Entry[] = [];
  readonly trimmed: Entry[] = [];
  /** Those that were the oldest when they were trimmed. */
  readonly #front: Entry[] = [];
  readonly #limits: { maxUpdates: number; maxTransient: number };

  constructor(limits: { maxUpdates: number; maxTransient: number }) {
    this.#limits = limits;
  }

  append(entry: Entry): void {
    this.all.push(entry);
    this.held.push(entry);
    const { maxUpdates, maxTransient } = this.#limits;
    const transient = this.held.filter((each) => each.transient);
    if (transient.length > maxTransient) this.#trim(transient[0]);
    const lasting = this.held.filter((each) => !each.transient);
    if (lasting.length <= maxUpdates) return;
    const oldestOfHeavy = lasting.find(
      ({ publisher }) =>
        lasting.filter((each) => each.publisher === publisher).length > maxUpdates / 2,
    );
    this.#trim(oldestOfHeavy ?? lasting[0]);
  }

  /** Sorted by topic, public ones first, as the test's topics are looked for. */
  trimmedTopics(after: string) {
    const isMissed = ({ position }: Entry) => comparePositions(position, after) > 0;
    if (this.#front.some(isMissed)) return undefined;
    const missed = this.trimmed.filter((entry) => !entry.transient && isMissed(entry));
    return ['a', 'b'].flatMap((topic) =>
      [false, true]
        .filter((isPrivate) =>
          missed.some(({ topics, private: each }) => each === isPrivate && topics.includes(topic)),
        )
        .map((isPrivate) => ({ topic, private: isPrivate })),
    );
  }

  #trim(entry: Entry | undefined): void {
    if (entry === this.held.find(({ transient }) => !transient)) this.#front.push(entry as Entry);
    this.held = this.held.filter((each) => each !== entry);
    if (entry) this.trimmed.push(entry);
  }
}
