import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import {
  BEGINNING,
  comparePositions,
  type Entry,
  type EntryRef,
  type Follower,
  type Following,
  isPosition,
  type Journal,
  type NewestOptions,
  type Position,
  type ReadRange,
  type Retention,
  type Update,
} from '../../src/journal/journal.js';

export const KEEP_ALL: Retention = { maxUpdates: 1_000_000, maxAgeMs: 0 };
export const NO_LIMIT = { maxEntries: 1_000_000, maxLength: Number.MAX_SAFE_INTEGER };

/** An update under the topic `t`, or as said. */
export function update(data: string, rest: Partial<Update> = {}): Update {
  return { topics: ['t'], data, private: false, ...rest };
}

export async function readAll(journal: Journal, range: Partial<ReadRange> = {}): Promise<Entry[]> {
  return [...(await journal.read({ ...NO_LIMIT, ...range })).entries];
}

export async function allTopics(journal: Journal): Promise<string[]> {
  const topics: string[] = [];
  for await (const page of journal.topics()) topics.push(...page);
  return topics;
}

export const dataOf = (entries: readonly Entry[]): string[] => entries.map(({ data }) => data);

/** Resolves when a journal has become so; it trims when it likes. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await wait(5);
}

/** Tests that a keeper keeps the contract of journal.ts, sentence by sentence. */
export function testContract(open: (retention: Retention) => Promise<Journal>): void {
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

  describe('append', () => {
    test('gives each update its place, in order, and an id that is its position', async () => {
      const journal = await openOne();
      const refs = [
        ...(await journal.append([update('a'), update('b')])),
        ...(await journal.append([update('c')])),
      ];
      for (const { id, position } of refs) {
        expect(isPosition(position)).toBe(true);
        expect(id).toBe(position);
      }
      expectAscending(refs);
      expect(dataOf(await readAll(journal))).toEqual(['a', 'b', 'c']);
    });

    test('keeps every field as it was, whatever the text', async () => {
      const journal = await openOne();
      const updates: Update[] = [
        update(''),
        update('line\r\n\n\0\u2028 ✓ 🎉 \u{10ffff}', { type: 'ünïcode', retry: 0 }),
        update('x'.repeat(2_000_000), { private: true }),
        update('{"a":1}', { topics: ['b', 'a', '\0', '🎉', 't'.repeat(1024)], retry: 5000 }),
        update('own', { id: 'urn:uuid:é', type: 'message' }),
        update('long', { id: 'i'.repeat(256) }),
      ];
      const refs = await journal.append(updates);
      const entries = await readAll(journal);
      expect(entries).toEqual(updates.map((each, index) => ({ ...each, ...refs[index] })));
      expect(entries[4]?.id).toBe('urn:uuid:é');
    });

    test('tells updates of one call apart that differ in one field alone', async () => {
      const journal = await openOne();
      const others: Partial<Update>[] = [
        { topics: ['other'] },
        { topics: ['t', 'other'] },
        { topics: ['t,other'] },
        { private: true },
        { type: 'other' },
        { retry: 1 },
        { id: 'other' },
        { id: 'scoped', scope: 'other' },
        { publisher: 'other' },
      ];
      // Each twice, between two that are the usual ones.
      const updates = others.flatMap((other) =>
        [{}, other, { ...other, ...(other.id && { id: `${other.id} again` }) }, {}].map((rest) =>
          update('same', rest),
        ),
      );
      const refs = await journal.append(updates);
      // Twice: the second time in the other order, by what is read last.
      const expected = updates.map((each, index) => ({ ...each, ...refs[index] }));
      expect(await readAll(journal)).toEqual(expected);
      for (const [index, { position }] of [...refs.entries()].reverse()) {
        const [entry] = await readAll(journal, { from: position, maxEntries: 1 });
        expect(entry).toEqual(expected[index]);
      }
    });

    test('is done in turns of 4,000 topics, of many calls that wait', async () => {
      const journal = await openOne();
      const commits: { readonly topics: number; readonly turn: number }[] = [];
      let turn = 0;
      let timer = setImmediate(function next() {
        turn++;
        timer = setImmediate(next);
      });
      await follow(journal, (entries) => {
        commits.push({ topics: entries.flatMap(({ topics }) => topics).length, turn });
      });
      const one = (call: number) =>
        Array.from({ length: 10 }, (_, n) =>
          update('', {
            topics: Array.from({ length: 100 }, (_, topic) => `${call}/${n}/${topic}`),
          }),
        );
      await Promise.all(Array.from({ length: 40 }, (_, call) => journal.append(one(call))));
      clearImmediate(timer);
      expect(commits.map(({ topics }) => topics)).toEqual(Array(10).fill(4000));
      expect(new Set(commits.map((commit) => commit.turn)).size).toBe(10);
    });

    test('of nothing gives nothing, and nobody hears of it', async () => {
      const journal = await openOne();
      const heard = await listen(journal);
      expect(await journal.append([])).toEqual([]);
      expect(heard).toEqual([]);
      expect(await readAll(journal)).toEqual([]);
    });

    test('can be read as soon as it resolves', async () => {
      const journal = await openOne();
      for (let n = 0; n < 20; n++) {
        await journal.append([update(`${n}`)]);
        expect((await newestOf(journal, 't', 1))[0]?.data).toBe(`${n}`);
      }
    });

    test('takes thousands at once: told, read and positioned in one order, each call in one piece', async () => {
      const journal = await openOne();
      const heard = await listen(journal);
      const calls = Array.from({ length: 3000 }, (_, call) =>
        journal.append(Array.from({ length: 1 + (call % 4) }, (_, n) => update(`${call}.${n}`))),
      );
      const refs = (await Promise.all(calls)).flat();
      const entries = await readAll(journal);
      expectAscending(entries);
      expect(entries.map(({ id }) => id)).toEqual(refs.map(({ id }) => id));
      expect(heard).toEqual(entries);
      const expected = calls.flatMap((_, call) =>
        Array.from({ length: 1 + (call % 4) }, (_, n) => `${call}.${n}`),
      );
      expect(dataOf(entries)).toEqual(expected);
    });

    test('keeps a call in one piece that is larger than the calls around it', async () => {
      const journal = await openOne();
      const large = Array.from({ length: 5000 }, (_, n) => update(`large ${n}`));
      await Promise.all([
        journal.append([update('before')]),
        journal.append(large),
        journal.append([update('after')]),
      ]);
      expect(dataOf(await readAll(journal))).toEqual([
        'before',
        ...dataOf(large as Entry[]),
        'after',
      ]);
    });
  });

  describe('follow', () => {
    test('tells of an entry once, before its append resolves, and not of what was before', async () => {
      const journal = await openOne();
      await journal.append([update('before')]);
      const order: string[] = [];
      await follow(journal, (entries) => order.push(`told ${dataOf(entries)}`));
      await journal.append([update('a'), update('b')]).then(() => order.push('resolved'));
      await journal.append([update('c')]).then(() => order.push('resolved'));
      expect(order).toEqual(['told a,b', 'resolved', 'told c', 'resolved']);
    });

    test('tells what is read: the same ids, positions and content', async () => {
      const journal = await openOne();
      const heard = await listen(journal);
      await journal.append([update('a', { id: 'own', type: 'x', retry: 1 }), update('b')]);
      expect(heard).toEqual(await readAll(journal));
    });

    test('stops when told so, for that follower alone, even if it follows twice', async () => {
      const journal = await openOne();
      const heard: string[] = [];
      const listener = (entries: readonly Entry[]): void => void heard.push(...dataOf(entries));
      const following = await follow(journal, listener);
      await follow(journal, listener);
      await journal.append([update('a')]);
      following.close();
      following.close();
      await journal.append([update('b')]);
      expect(heard).toEqual(['a', 'a', 'b']);
    });

    test('keeps the order for all when a follower appends', async () => {
      const journal = await openOne();
      const first: string[] = [];
      const second: string[] = [];
      const appended: Promise<unknown>[] = [];
      await follow(journal, (entries) => {
        first.push(...dataOf(entries));
        if (first.length < 5) appended.push(journal.append([update(`${first.length}`)]));
      });
      await follow(journal, (entries) => second.push(...dataOf(entries)));
      await journal.append([update('0')]);
      while (appended.length > 0) await appended.shift();
      expect(first).toEqual(['0', '1', '2', '3', '4']);
      expect(second).toEqual(first);
    });

    test('begins after a position: what is held after it comes first, then what is appended', async () => {
      const journal = await openOne();
      const refs = await journal.append(Array.from({ length: 2_000 }, (_, n) => update(`${n}`)));
      const [, second] = refs as [EntryRef, EntryRef];
      for (const after of [BEGINNING, second.position, refs.at(-1)?.position as string]) {
        const heard: Entry[] = [];
        const following = await follow(journal, (entries) => heard.push(...entries), after);
        expect(following.after).toBe(after);
        expect(heard).toEqual(await readAll(journal, { after }));
        await journal.append([update('live')]);
        expect(heard.at(-1)?.data).toBe('live');
        expect(heard).toEqual(await readAll(journal, { after }));
        following.close();
      }
    });

    test('says where it began: at the newest entry, or at the beginning', async () => {
      const journal = await openOne({ maxUpdates: 1 });
      expect((await follow(journal, () => {})).after).toBe(BEGINNING);
      await journal.append([update('a')]);
      const [b] = await journal.append([update('b')]);
      expect((await follow(journal, () => {})).after).toBe(b?.position);
      expect((await follow(journal, () => {}, '9999999999999-9')).after).toBe(b?.position);
    });

    test('tells everything once and in order while others append', async () => {
      const journal = await openOne();
      await journal.append(Array.from({ length: 1_500 }, (_, n) => update(`${n}`)));
      const heard: Entry[] = [];
      const appending = (async () => {
        for (let n = 1_500; n < 1_600; n++) await journal.append([update(`${n}`)]);
      })();
      const starting = follow(journal, (entries) => heard.push(...entries), BEGINNING);
      await Promise.all([appending, starting]);
      expect(heard).toEqual(await readAll(journal));
      expect(heard).toHaveLength(1_600);
    });

    test('tells that its place is lost where entries after the position have been trimmed', async () => {
      const journal = await openOne({ maxUpdates: 3 });
      const [first] = await journal.append([update('0')]);
      for (let n = 1; n < 10; n++) await journal.append([update(`${n}`)]);
      const told: string[] = [];
      await journal.follow(
        {
          entries: (entries) => told.push(...dataOf(entries)),
          lost: (through) => told.push(`lost ${through}`),
        },
        first?.position,
      );
      await journal.append([update('live')]);
      const lost = told.filter((each) => each.startsWith('lost'));
      expect(told[0]).toMatch(/^lost /);
      expect(lost).toHaveLength(1);
      const through = lost[0]?.slice('lost '.length) ?? '';
      const { found } = await journal.locate(through);
      expect(found).toBe(true);
      const rest = dataOf(await readAll(journal, { after: through }));
      expect(told.slice(1).slice(-rest.length)).toEqual(rest);
    });

    test('a follower that stops while being told does not keep others from hearing', async () => {
      const journal = await openOne();
      const heard: string[] = [];
      const following = await follow(journal, () => following.close());
      await follow(journal, (entries) => heard.push(...dataOf(entries)));
      await journal.append([update('a')]);
      await journal.append([update('b')]);
      expect(heard).toEqual(['a', 'b']);
    });
  });

  describe("a publisher's own id", () => {
    test('that is repeated with the same content gives the place of the first, and nothing anew', async () => {
      const journal = await openOne();
      const heard = await listen(journal);
      const same = { id: 'x', type: 'e', retry: 1, topics: ['a', 'b'], private: true };
      const [first] = await journal.append([update('d', same)]);
      const again = await journal.append([update('new'), update('d', { ...same })]);
      expect(again[1]).toEqual(first);
      expect(dataOf(await readAll(journal))).toEqual(['d', 'new']);
      expect(dataOf(heard)).toEqual(['d', 'new']);
    });

    test.each<[string, Partial<Update>]>([
      ['data', { data: 'other' }],
      ['type', { type: 'other' }],
      ['retry', { retry: 2 }],
      ['privacy', { private: true }],
      ['topics', { topics: ['t', 'u'] }],
      ['order of topics', { topics: ['t', 'a'] }],
    ])('that is repeated with other %s is refused, and all that came with it', async (_, other) => {
      const journal = await openOne();
      const heard = await listen(journal);
      const first = update('d', { id: 'x', type: 'e', retry: 1, topics: ['a', 't'] });
      await journal.append([first]);
      const refused = journal.append([
        update('with it', { id: 'y' }),
        { ...first, ...other },
        update('with it too'),
      ]);
      await expect(refused).rejects.toMatchObject({ name: 'JournalError', code: 'ERR_ID_TAKEN' });
      await expect(refused).rejects.toThrow(/"x"/);
      expect(dataOf(await readAll(journal))).toEqual(['d']);
      expect(dataOf(heard)).toEqual(['d']);
      expect(await journal.locate('y')).toEqual({ found: false, reason: 'unknown' });
      // The id that came with it is free.
      await journal.append([update('now', { id: 'y' })]);
    });

    test('counts at once for calls that are under way together', async () => {
      const journal = await openOne();
      const heard = await listen(journal);
      const results = await Promise.allSettled([
        journal.append([update('one', { id: 'x' })]),
        journal.append([update('alone'), update('one', { id: 'x' })]),
        journal.append([update('refused'), update('two', { id: 'x' })]),
        journal.append([update('fine', { id: 'y' })]),
        journal.append([update('fine', { id: 'y' })]),
      ]);
      expect(results.map(({ status }) => status)).toEqual([
        'fulfilled',
        'fulfilled',
        'rejected',
        'fulfilled',
        'fulfilled',
      ]);
      expect(dataOf(await readAll(journal))).toEqual(['one', 'alone', 'fine']);
      expect(dataOf(heard)).toEqual(['one', 'alone', 'fine']);
    });

    test('counts within one call', async () => {
      const journal = await openOne();
      const refs = await journal.append([
        update('a', { id: 'x' }),
        update('b'),
        update('a', { id: 'x' }),
      ]);
      expect(refs[2]).toEqual(refs[0]);
      await expect(
        journal.append([update('c', { id: 'z' }), update('d', { id: 'z' })]),
      ).rejects.toMatchObject({ code: 'ERR_ID_TAKEN' });
      expect(dataOf(await readAll(journal))).toEqual(['a', 'b']);
    });

    test('is free again once its entry has been trimmed', async () => {
      const journal = await openOne({ maxUpdates: 2 });
      const [first] = await journal.append([update('a', { id: 'x' })]);
      await journal.append([update('b')]);
      await journal.append([update('c')]);
      const [again] = await journal.append([update('other', { id: 'x' })]);
      expect(
        comparePositions((first as EntryRef).position, (again as EntryRef).position),
      ).toBeLessThan(0);
      expect(await journal.locate('x')).toEqual({ found: true, position: again?.position });
    });
  });

  describe('read', () => {
    test('gives the entries after one and through another', async () => {
      const journal = await openOne();
      const refs = await journal.append(['a', 'b', 'c', 'd'].map((data) => update(data)));
      const [a, b, , d] = refs.map(({ position }) => position) as [string, string, string, string];
      expect(dataOf(await readAll(journal, { after: b }))).toEqual(['c', 'd']);
      expect(dataOf(await readAll(journal, { through: b }))).toEqual(['a', 'b']);
      expect(dataOf(await readAll(journal, { after: a, through: d }))).toEqual(['b', 'c', 'd']);
      expect(dataOf(await readAll(journal, { after: d }))).toEqual([]);
      expect(dataOf(await readAll(journal, { after: d, through: a }))).toEqual([]);
    });

    test('gives the entries from one on, itself included', async () => {
      const journal = await openOne({ maxUpdates: 3 });
      const refs: EntryRef[] = [];
      for (const data of ['a', 'b', 'c', 'd', 'e']) {
        refs.push(...(await journal.append([update(data)])));
      }
      const read = (from: string | undefined, rest: Partial<ReadRange> = {}) =>
        journal.read({ ...NO_LIMIT, from, ...rest });
      const [a, b, c, d] = refs.map(({ position }) => position) as [string, string, string, string];
      for (const topics of [undefined, ['t']]) {
        expect(dataOf((await read(d, { topics })).entries)).toEqual(['d', 'e']);
        expect(dataOf((await read(d, { topics, through: d })).entries)).toEqual(['d']);
        expect(dataOf((await read(a, { topics })).entries)).toEqual(['c', 'd', 'e']);
      }
      for (const [from, trimmed] of [
        [a, true],
        [b, true],
        [c, false],
        [d, false],
      ] as const) {
        expect((await read(from)).trimmed).toBe(trimmed);
        expect((await read(from)).trimmedThrough).toBe(trimmed ? b : undefined);
      }
      const [epoch] = a.split('-').map(Number) as [number];
      expect(dataOf((await read(`${epoch}-0`)).entries)).toEqual(['c', 'd', 'e']);
      expect(dataOf((await read(BEGINNING)).entries)).toEqual(['c', 'd', 'e']);
      expect((await read(`${epoch + 60_000}-0`)).entries).toEqual([]);
    });

    test('takes positions it does not hold: of before, of after, and of other epochs', async () => {
      const journal = await openOne();
      const [a] = await journal.append([update('a')]);
      const [epoch] = (a as EntryRef).position.split('-').map(Number) as [number];
      for (const [position, isBefore] of [
        [`${epoch - 1}-999`, true],
        [`${epoch}-0`, true],
        [`${epoch}-999`, false],
        [`${epoch + 60_000}-0`, false],
        ['9999999999999-9', false],
      ] as const) {
        const rest = { entries: isBefore ? [expect.objectContaining({ data: 'a' })] : [] };
        expect(await journal.read({ ...NO_LIMIT, after: position })).toMatchObject(rest);
        expect(await journal.read({ ...NO_LIMIT, after: position, topics: ['t'] })).toMatchObject(
          rest,
        );
        const until = isBefore ? [] : ['a'];
        expect(dataOf(await readAll(journal, { through: position }))).toEqual(until);
        expect(dataOf(await readAll(journal, { through: position, topics: ['t'] }))).toEqual(until);
      }
    });

    test('gives only entries of the topics asked for, each once, in order', async () => {
      const journal = await openOne();
      await journal.append([
        update('1', { topics: ['a'] }),
        update('2', { topics: ['b'] }),
        update('3', { topics: ['c', 'b', 'a'] }),
        update('4', { topics: ['c'] }),
        update('5', { topics: ['a', 'b'] }),
      ]);
      expect(dataOf(await readAll(journal, { topics: ['a'] }))).toEqual(['1', '3', '5']);
      expect(dataOf(await readAll(journal, { topics: ['b', 'a'] }))).toEqual(['1', '2', '3', '5']);
      expect(dataOf(await readAll(journal, { topics: ['a', 'a', 'none'] }))).toEqual([
        '1',
        '3',
        '5',
      ]);
      expect(dataOf(await readAll(journal, { topics: [] }))).toEqual([]);
      expect(dataOf(await readAll(journal, { topics: ['none'] }))).toEqual([]);
      expect(dataOf(await readAll(journal, { topics: ['', 'x'.repeat(5000)] }))).toEqual([]);
    });

    test('gives no more entries than asked for, and goes on after the last', async () => {
      const journal = await openOne();
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
        expect(pages).toEqual([10, 10, 5]);
        expect(seen).toEqual(Array.from({ length: 25 }, (_, n) => `${n}`));
      }
    });

    test('stops once it has the length asked for, but gives at least one', async () => {
      const journal = await openOne();
      await journal.append([update('12345'), update('67890'), update('🎉')]);
      const lengths = async (maxLength: number): Promise<number> =>
        (await readAll(journal, { maxLength })).length;
      expect(await lengths(0)).toBe(1);
      expect(await lengths(5)).toBe(1);
      expect(await lengths(6)).toBe(2);
      expect(await lengths(11)).toBe(3);
    });

    test('of many topics at once leaves nothing open behind it', async () => {
      const journal = await openOne();
      const topics = Array.from({ length: 300 }, (_, n) => `topic ${n}`);
      await journal.append(topics.map((topic) => update(topic, { topics: [topic] })));
      for (let n = 0; n < 100; n++) {
        const { entries } = await journal.read({ ...NO_LIMIT, maxEntries: 3, topics });
        expect(dataOf(entries)).toEqual(topics.slice(0, 3));
      }
      await journal.append([update('still works')]);
    });
  });

  describe('trimming', () => {
    test('keeps the newest so many, and their topics', async () => {
      const journal = await openOne({ maxUpdates: 3 });
      for (let n = 0; n < 10; n++) {
        await journal.append([update(`${n}`, { topics: [`topic ${n}`, 'all'] })]);
      }
      expect(dataOf(await readAll(journal))).toEqual(['7', '8', '9']);
      expect(dataOf(await readAll(journal, { topics: ['all'] }))).toEqual(['7', '8', '9']);
      expect((await allTopics(journal)).sort()).toEqual(['all', 'topic 7', 'topic 8', 'topic 9']);
      expect(await newestOf(journal, 'topic 6', 1)).toEqual([]);
    });

    test('comes to the limit also when more is appended at once', async () => {
      const journal = await openOne({ maxUpdates: 3 });
      const heard = await listen(journal);
      await journal.append(Array.from({ length: 2000 }, (_, n) => update(`${n}`)));
      expect(heard).toHaveLength(2000);
      await until(async () => (await readAll(journal)).length === 3);
      expect(dataOf(await readAll(journal, { topics: ['t'] }))).toEqual(['1997', '1998', '1999']);
    });

    test('drops what is too old, without an append', async () => {
      const start = Date.now();
      const now = jest.spyOn(Date, 'now').mockReturnValue(start);
      const journal = await openOne({ maxAgeMs: 1000 });
      await journal.append([update('old'), update('old too')]);
      now.mockReturnValue(start + 900);
      await journal.append([update('young')]);
      now.mockReturnValue(start + 1001);
      await until(async () => (await readAll(journal)).length < 3);
      expect(dataOf(await readAll(journal))).toEqual(['young']);
      now.mockReturnValue(start + 1_000_000);
      await until(async () => (await journal.bounds()).oldest === undefined);
      expect(await allTopics(journal)).toEqual([]);
    });

    test('drops what is too old when something is appended', async () => {
      const start = Date.now();
      const now = jest.spyOn(Date, 'now').mockReturnValue(start);
      const journal = await openOne({ maxAgeMs: 1_000_000 });
      await journal.append([update('old')]);
      now.mockReturnValue(start + 1_000_001);
      await journal.append([update('young')]);
      expect(dataOf(await readAll(journal))).toEqual(['young']);
    });

    test('tells a reader from before that it has missed something, and only that one', async () => {
      const journal = await openOne({ maxUpdates: 2 });
      const refs: EntryRef[] = [];
      for (const data of ['a', 'b', 'c', 'd']) refs.push(...(await journal.append([update(data)])));
      const trimmedAfter = async (after: string | undefined): Promise<boolean> => {
        const whole = await journal.read({ ...NO_LIMIT, after });
        const byTopic = await journal.read({ ...NO_LIMIT, after, topics: ['none'] });
        expect(byTopic.trimmed).toBe(whole.trimmed);
        return whole.trimmed;
      };
      const [a, b, c, d] = refs.map(({ position }) => position);
      expect(await trimmedAfter(a)).toBe(true);
      expect(await trimmedAfter('1000000000000-0')).toBe(true);
      expect(await trimmedAfter(b)).toBe(false);
      expect(await trimmedAfter(c)).toBe(false);
      expect(await trimmedAfter(d)).toBe(false);
      expect(await trimmedAfter(undefined)).toBe(false);
    });
  });

  describe('locate', () => {
    test('finds ids held, given or own, and every position', async () => {
      const journal = await openOne();
      const refs = await journal.append([update('a'), update('b', { id: 'own' })]);
      for (const { id, position } of refs) {
        expect(await journal.locate(id)).toEqual({ found: true, position });
        expect(await journal.locate(position)).toEqual({ found: true, position });
      }
    });

    test('finds the last that was trimmed, and tells of older ones that they were', async () => {
      const journal = await openOne({ maxUpdates: 1 });
      const [a] = await journal.append([update('a')]);
      const [own] = await journal.append([update('b', { id: 'own' })]);
      await journal.append([update('c')]);
      for (const id of ['own', own?.position as string]) {
        expect(await journal.locate(id)).toEqual({ found: true, position: own?.position });
      }
      expect(await journal.locate(a?.id ?? '')).toEqual({ found: false, reason: 'trimmed' });
      const [d] = await journal.append([update('d')]);
      expect(await journal.locate('own')).toEqual({ found: false, reason: 'unknown' });
      await journal.append([update('e')]);
      expect(await journal.locate(d?.id ?? '')).toEqual({ found: true, position: d?.position });
    });

    test('does not know what was never an id here', async () => {
      const journal = await openOne({ maxUpdates: 2 });
      const [own] = await journal
        .append([update('gone')])
        .then(() => journal.append([update('gone')]));
      await journal.append([update('gone too'), update('held', { id: 'own' })]);
      const [epoch, sequence] = (own as EntryRef).id.split('-').map(Number) as [number, number];
      for (const id of [
        'never',
        '',
        'x'.repeat(5000),
        '\0',
        `${epoch}-${sequence + 1000}`,
        `${epoch}-0`,
        `${epoch + 60_000}-1`,
        `${epoch - 60_000}-1`,
        '1000000000000-1',
        '9999999999999999-9999999999999999',
      ]) {
        expect([id, await journal.locate(id)]).toEqual([id, { found: false, reason: 'unknown' }]);
      }
    });

    test('finds nothing in an empty journal', async () => {
      const journal = await openOne();
      for (const id of ['x', `${Date.now()}-1`, '1000000000000-1']) {
        expect(await journal.locate(id)).toEqual({ found: false, reason: 'unknown' });
      }
    });
  });

  describe('topics, latest and bounds', () => {
    test('finds the newest of a topic as far as their length allows, and at least one', async () => {
      const journal = await openOne();
      const text = 'x'.repeat(1000);
      await journal.append(Array.from({ length: 10 }, (_, n) => update(`${n}${text}`)));
      const newest = async (maxLength: number, before?: string) =>
        (await newestOf(journal, 't', 100, { before, maxLength })).map(({ data }) => data[0]);
      expect(await newest(1)).toEqual(['9']);
      expect(await newest(2500)).toEqual(['7', '8', '9']);
      const [seventh] = (await newestOf(journal, 't', 3)).map(({ position }) => position);
      expect(await newest(1, seventh)).toEqual(['6']);
      expect(await newest(Number.POSITIVE_INFINITY)).toHaveLength(10);
    });

    test('finds the newest of many topics in one call, in their order', async () => {
      const journal = await openOne();
      const topics = Array.from({ length: 1_000 }, (_, n) => `topic ${n}`);
      await journal.append(topics.map((topic) => update('old', { topics: [topic] })));
      const [ref] = await journal.append(
        topics.map((topic, n) => update(`${n}`, { topics: n % 3 ? [topic] : [topic, 'third'] })),
      );
      const asked = topics.toReversed();
      const newest = await journal.newest(asked, { count: 1 });
      expect(newest.map((entries) => dataOf(entries))).toEqual(asked.map((_, n) => [`${999 - n}`]));
      const some = ['topic 7', 'none', 'third', 'topic 7'];
      const lists = async (options: NewestOptions) =>
        (await journal.newest(some, options)).map((entries) => dataOf(entries));
      expect(await lists({ count: 2 })).toEqual([['old', '7'], [], ['996', '999'], ['old', '7']]);
      const before = ref?.position;
      expect(await lists({ count: 2, before })).toEqual([['old'], [], [], ['old']]);
      expect(await lists({ count: 2, maxLength: 1 })).toEqual([['7'], [], ['999'], ['7']]);
      expect(await journal.newest([], { count: 1 })).toEqual([]);
    });

    test('are empty of an empty journal', async () => {
      const journal = await openOne();
      expect(await allTopics(journal)).toEqual([]);
      expect(await newestOf(journal, 't', 1)).toEqual([]);
      expect(await newestOf(journal, '', 1)).toEqual([]);
      expect(await newestOf(journal, 'x'.repeat(5000), 1)).toEqual([]);
      expect(await newestOf(journal, 't', 10)).toEqual([]);
      expect(await journal.bounds()).toEqual({ oldest: undefined, head: undefined });
    });

    test('tell every topic once, the newest entry of each, and the first and last', async () => {
      const journal = await openOne();
      const refs = await journal.append([
        update('1', { topics: ['a', 'ab'], id: 'first' }),
        update('2', { topics: ['b', 'a\0'] }),
        update('3', { topics: ['ab', '✓'] }),
        update('4', { topics: ['b'], id: 'last' }),
      ]);
      expect((await allTopics(journal)).sort()).toEqual(['a', 'a\0', 'ab', 'b', '✓']);
      expect((await newestOf(journal, 'a', 1))[0]?.data).toBe('1');
      expect((await newestOf(journal, 'ab', 1))[0]?.data).toBe('3');
      expect(await newestOf(journal, 'b', 1)).toEqual([
        { ...update('4', { topics: ['b'] }), ...refs[3] },
      ]);
      expect(await newestOf(journal, 'A', 1)).toEqual([]);
      const newest = async (topic: string, count: number): Promise<string[]> =>
        dataOf(await newestOf(journal, topic, count));
      expect(await newest('b', 0)).toEqual([]);
      expect(await newest('b', 1)).toEqual(['4']);
      expect(await newest('b', 2)).toEqual(['2', '4']);
      expect(await newest('b', 100)).toEqual(['2', '4']);
      expect(await newest('A', 100)).toEqual([]);
      expect(await journal.bounds()).toEqual({ oldest: refs[0], head: refs[3] });
    });
  });

  describe('close', () => {
    test('finishes the appends under way, then refuses everything but to close again', async () => {
      const journal = await openOne();
      const heard = await listen(journal);
      const appends = Array.from({ length: 100 }, (_, n) => journal.append([update(`${n}`)]));
      const closed = journal.close();
      const closedError = { name: 'JournalError', code: 'ERR_JOURNAL_CLOSED' };
      await expect(journal.append([update('late')])).rejects.toMatchObject(closedError);
      await Promise.all(appends);
      await closed;
      expect(heard).toHaveLength(100);
      await journal.close();
      for (const call of [
        () => journal.append([update('late')]),
        () => journal.read(NO_LIMIT),
        () => journal.locate('x'),
        () => allTopics(journal),
        () => newestOf(journal, 't', 1),
        () => journal.bounds(),
        () => journal.ping(),
        () => journal.follow({ entries: () => {}, lost: () => {} }),
      ]) {
        await expect(call()).rejects.toMatchObject(closedError);
      }
      expect(heard).toHaveLength(100);
    });
  });

  test('ping resolves, alone and among appends, and appends nothing', async () => {
    const journal = await openOne();
    await journal.ping();
    await Promise.all([journal.append([update('a')]), journal.ping(), journal.ping()]);
    expect(dataOf(await readAll(journal))).toEqual(['a']);
  });

  test('behaves like the simplest journal there could be, whatever is done with it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(actions, { maxLength: 30 }), async (script) => {
        const journal = await openOne({ maxUpdates: MODEL_MAX_UPDATES });
        const model = new Model();
        const heard = await listen(journal);
        for (const action of script) await action(journal, model);
        expect(heard).toEqual(model.told);
        await journal.close();
      }),
      { numRuns: 60 },
    );
  });
}

/** What a journal tells from now on. */
async function listen(journal: Journal): Promise<Entry[]> {
  const heard: Entry[] = [];
  await follow(journal, (entries) => heard.push(...entries));
  return heard;
}

/** Follows a journal that is not expected to lose its place. */
export function follow(
  journal: Journal,
  entries: Follower['entries'],
  after?: Position,
): Promise<Following> {
  const lost = (through: Position): void => {
    throw new Error(`The place was lost up to ${through}.`);
  };
  return journal.follow({ entries: (each) => void entries(each), lost }, after);
}

/** The newest of one topic. */
export async function newestOf(
  journal: Journal,
  topic: string,
  count: number,
  rest: Omit<NewestOptions, 'count'> = {},
): Promise<readonly Entry[]> {
  const [entries = []] = await journal.newest([topic], { count, ...rest });
  return entries;
}

function expectAscending(refs: readonly EntryRef[]): void {
  for (const [index, { position }] of refs.slice(1).entries()) {
    expect(comparePositions((refs[index] as EntryRef).position, position)).toBeLessThan(0);
  }
}

/** Everything in one array, and looked for from its start. It learns positions from the journal. */
class Model {
  entries: Entry[] = [];
  readonly told: Entry[] = [];
  lastTrimmed: Entry | undefined;

  /** What comes of an append, once it is known where its new updates stand. */
  append(updates: readonly Update[], refs: readonly EntryRef[] | undefined): void {
    const added: Entry[] = [];
    for (const [index, each] of updates.entries()) {
      const first = [...this.entries, ...added].find(({ id }) => id === each.id);
      if (first && !isSame(first, each)) {
        expect(refs).toBeUndefined();
        return;
      }
      const ref = refs?.[index];
      if (first) {
        // Without refs it is to be refused, for the sake of a later one.
        if (refs) expect(ref).toEqual({ id: first.id, position: first.position });
        continue;
      }
      added.push({ ...each, id: each.id ?? ref?.position ?? '', position: ref?.position ?? '' });
    }
    expect(refs).toBeDefined();
    this.entries.push(...added);
    this.told.push(...added);
  }

  trim(): void {
    while (this.entries.length > MODEL_MAX_UPDATES) this.lastTrimmed = this.entries.shift();
  }

  read({ after, through, topics, maxEntries, maxLength }: ReadRange): Entry[] {
    let length = 0;
    return this.entries
      .filter(({ position }) => after === undefined || comparePositions(position, after) > 0)
      .filter(({ position }) => through === undefined || comparePositions(position, through) <= 0)
      .filter((entry) => topics === undefined || topics.some((t) => entry.topics.includes(t)))
      .slice(0, maxEntries)
      .filter(({ data }, index) => {
        const isWithin = index === 0 || length < maxLength;
        length += data.length;
        return isWithin;
      });
  }
}

const MODEL_MAX_UPDATES = 12;

type Action = (journal: Journal, model: Model) => Promise<void>;

const topicNames = fc.constantFrom('a', 'b', 'c', 'd');
const updates = fc.array(
  fc.record({
    topics: fc.uniqueArray(topicNames, { minLength: 1 }),
    data: fc.constantFrom('', 'x', 'some words'),
    type: fc.constantFrom(undefined, 'type'),
    private: fc.boolean(),
    id: fc.option(fc.constantFrom('id 1', 'id 2', 'id 3', 'id 4'), { nil: undefined, freq: 3 }),
  }),
  { maxLength: 4 },
);

/** Calls under way together: the journal takes them in the order they were made in. */
const appending = fc.array(updates, { minLength: 1, maxLength: 3 }).map(
  (calls): Action =>
    async (journal, model) => {
      const results = await Promise.allSettled(calls.map((call) => journal.append(call)));
      for (const [index, result] of results.entries()) {
        const refs = result.status === 'fulfilled' ? result.value : undefined;
        model.append(calls[index] as Update[], refs);
      }
      model.trim();
      await until(async () => (await readAll(journal)).length <= MODEL_MAX_UPDATES);
    },
);

const reading = fc
  .record({
    after: fc.option(fc.nat(), { nil: undefined }),
    through: fc.option(fc.nat(), { nil: undefined, freq: 2 }),
    topics: fc.option(fc.array(topicNames, { maxLength: 4 }), { nil: undefined }),
    maxEntries: fc.integer({ min: 1, max: 20 }),
    maxLength: fc.integer({ min: 0, max: 40 }),
  })
  .map(
    (drawn): Action =>
      async (journal, model) => {
        const pick = (n: number | undefined): string | undefined =>
          n === undefined ? undefined : model.told[n % Math.max(model.told.length, 1)]?.position;
        const range = { ...drawn, after: pick(drawn.after), through: pick(drawn.through) };
        expect(await journal.read(range)).toEqual({
          entries: model.read(range),
          trimmed:
            range.after !== undefined &&
            model.lastTrimmed !== undefined &&
            comparePositions(range.after, model.lastTrimmed.position) < 0,
          trimmedTransient: false,
        });
      },
  );

const looking = fc.nat().map(
  (n): Action =>
    async (journal, model) => {
      const { entries, lastTrimmed, told } = model;
      const [oldest, head] = [entries[0], entries.at(-1)].map(
        (entry) => entry && { id: entry.id, position: entry.position },
      );
      expect(await journal.bounds()).toEqual({ oldest, head });
      const topics = new Set(entries.flatMap((entry) => entry.topics));
      expect(new Set(await allTopics(journal))).toEqual(topics);
      for (const topic of ['a', 'b', 'c', 'd']) {
        const ofTopic = entries.filter((entry) => entry.topics.includes(topic));
        expect(await newestOf(journal, topic, 1 + (n % 5))).toEqual(ofTopic.slice(-1 - (n % 5)));
      }
      const id = told[n % Math.max(told.length, 1)]?.id ?? 'id 1';
      const held =
        entries.find((entry) => entry.id === id) ??
        (lastTrimmed?.id === id ? lastTrimmed : undefined);
      expect(await journal.locate(id)).toEqual(
        held
          ? { found: true, position: held.position }
          : { found: false, reason: isPosition(id) ? 'trimmed' : 'unknown' },
      );
    },
);

const actions: fc.Arbitrary<Action> = fc.oneof(
  { arbitrary: appending, weight: 3 },
  { arbitrary: reading, weight: 2 },
  { arbitrary: looking, weight: 1 },
);

function isSame(a: Update, b: Update): boolean {
  const content = ({ topics, data, type, retry, private: isPrivate }: Update): string =>
    JSON.stringify([topics, data, type, retry, isPrivate]);
  return content(a) === content(b);
}
