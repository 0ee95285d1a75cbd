import { afterEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type AppendKey,
  type EntryRef,
  type Journal,
  KEY_MAX_AGE_MS,
  MAX_KEYS_BYTES,
  type Retention,
  type Update,
} from '../../src/journal/journal.js';
import { dataOf, KEEP_ALL, readAll, until, update } from './journal-contract.js';

/** A key whose digest stands for one body, or as said. */
export function keyOf(key: string, rest: Partial<AppendKey> = {}): { key: AppendKey } {
  return { key: { key, digest: 'of the body', ...rest } };
}

const TAKEN = { name: 'JournalError', code: 'ERR_KEY_TAKEN' };

/** So many keys come to more than a journal remembers: each counts 350 bytes and its text. */
const LONG_KEY = 'k'.repeat(1000);
const MORE_THAN_ALL = Math.ceil(MAX_KEYS_BYTES / (350 + LONG_KEY.length)) + 2000;

/** Tests what a keeper remembers of the keys under which updates were appended. */
export function testAppendKeys(open: (retention: Retention) => Promise<Journal>): void {
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

  /** Appends one update under each of many long keys, some at once. */
  const flood = async (journal: Journal, publisher: string, count: number): Promise<void> => {
    for (let n = 0; n < count; n += 500) {
      const some = Array.from({ length: Math.min(500, count - n) }, (_, m) =>
        journal.append([update('')], keyOf(`${publisher} ${n + m} ${LONG_KEY}`, { publisher })),
      );
      await Promise.all(some);
    }
  };

  describe('an append under a key', () => {
    test('that is repeated is answered as the first was, and appends nothing', async () => {
      const journal = await openOne();
      const refs = await journal.append([update('a'), update('b')], keyOf('k'));
      await journal.append([update('between')]);
      for (let n = 0; n < 3; n++) {
        expect(await journal.append([update('a'), update('b')], keyOf('k'))).toEqual(refs);
      }
      expect(dataOf(await readAll(journal))).toEqual(['a', 'b', 'between']);
    });

    test('that is another one, or under none, is made', async () => {
      const journal = await openOne();
      const refs: EntryRef[] = [];
      for (const options of [keyOf('k'), keyOf('K'), undefined, undefined, {}, keyOf('k ')]) {
        refs.push(...(await journal.append([update('a')], options)));
      }
      expect(new Set(refs.map(({ position }) => position)).size).toBe(6);
    });

    test('with another digest is refused, and appends nothing', async () => {
      const journal = await openOne();
      const refs = await journal.append([update('a')], keyOf('k'));
      const other = journal.append([update('b')], keyOf('k', { digest: 'of another' }));
      await expect(other).rejects.toMatchObject(TAKEN);
      expect(await journal.append([update('a')], keyOf('k'))).toEqual(refs);
      expect(dataOf(await readAll(journal))).toEqual(['a']);
    });

    test('of more or fewer updates than the first is refused', async () => {
      const journal = await openOne();
      await journal.append([update('a'), update('b')], keyOf('k'));
      for (const updates of [[], [update('a')], [update('a'), update('b'), update('c')]]) {
        await expect(journal.append(updates, keyOf('k'))).rejects.toMatchObject(TAKEN);
      }
    });

    test('is answered the same when its updates have been trimmed', async () => {
      const journal = await openOne({ maxUpdates: 2 });
      const updates = [update('a', { id: 'own' }), update('b')];
      const refs = await journal.append(updates, keyOf('k'));
      for (let n = 0; n < 5; n++) await journal.append([update(`${n}`)]);
      await until(async () => (await readAll(journal)).length <= 2);
      expect(await journal.append(updates, keyOf('k'))).toEqual(refs);
      expect(dataOf(await readAll(journal))).toEqual(['3', '4']);
    });

    test("of own ids, the journal's and a mixture, some of them held before, is answered with these", async () => {
      const journal = await openOne();
      await journal.append([update('held', { id: 'held' }), update('x'), update('y', { id: 'y' })]);
      const calls: Update[][] = [
        [update('1', { id: 'one' }), update('2', { id: 'two' })],
        [update('3'), update('4', { id: 'four' }), update('5')],
        [update('6'), update('held', { id: 'held' }), update('7'), update('y', { id: 'y' })],
        [update('y', { id: 'y' }), update('held', { id: 'held' })],
        [update('8', { id: 'twice' }), update('9'), update('8', { id: 'twice' })],
        [],
      ];
      for (const [index, updates] of calls.entries()) {
        const held = await readAll(journal);
        const refs = await journal.append(updates, keyOf(`k${index}`));
        const all = await readAll(journal);
        expect(refs.map(({ id, position }) => [id, position])).toEqual(
          updates.map(({ data }) => {
            const entry = all.find((each) => each.data === data);
            return [entry?.id, entry?.position];
          }),
        );
        expect(await journal.append(updates, keyOf(`k${index}`))).toEqual(refs);
        expect(await readAll(journal)).toEqual(all);
        expect(all.slice(0, held.length)).toEqual(held);
      }
    });

    test('may have 10,000 updates, of any ids', async () => {
      const journal = await openOne();
      for (const idOf of [
        () => undefined,
        (n: number) => `own ${n}`,
        (n: number) => (n % 3 === 0 ? `some ${n}` : undefined),
      ]) {
        const updates = Array.from({ length: 10_000 }, (_, n) => {
          const id = idOf(n);
          return id === undefined ? update(`${n}`) : update(`${n}`, { id });
        });
        const options = keyOf(`${idOf}`);
        const refs = await journal.append(updates, options);
        const { head } = await journal.bounds();
        expect(await journal.append(updates, options)).toEqual(refs);
        expect((await journal.bounds()).head).toEqual(head);
      }
    });

    test('tells followers once', async () => {
      const journal = await openOne();
      const told: string[] = [];
      await journal.follow({
        entries: (entries) => void told.push(...dataOf(entries)),
        lost: () => undefined,
      });
      for (let n = 0; n < 2; n++) await journal.append([update('a')], keyOf('k'));
      await Promise.all([1, 2].map(() => journal.append([update('b')], keyOf('l'))));
      expect(told).toEqual(['a', 'b']);
    });

    test('that is repeated while it is under way waits for it, and is answered the same', async () => {
      const journal = await openOne();
      const large = Array.from({ length: 2000 }, (_, n) => update(`${n}`));
      const [first, ...others] = await Promise.all([
        journal.append(large, keyOf('k')),
        ...Array.from({ length: 20 }, () => journal.append(large, keyOf('k'))),
      ]);
      for (const other of others) expect(other).toEqual(first);
      expect(await readAll(journal)).toHaveLength(2000);
    });

    test('with another digest than one under way is refused', async () => {
      const journal = await openOne();
      const results = await Promise.allSettled([
        journal.append([update('a')], keyOf('k')),
        journal.append([update('b')], keyOf('k', { digest: 'of another' })),
        journal.append([update('a')], keyOf('k')),
      ]);
      expect(results).toMatchObject([
        { status: 'fulfilled' },
        { status: 'rejected', reason: TAKEN },
        { status: 'fulfilled' },
      ]);
      expect(dataOf(await readAll(journal))).toEqual(['a']);
    });

    test('that was refused is made anew, also if it is repeated while under way', async () => {
      const journal = await openOne({ maxUpdates: 2 });
      await journal.append([update('a', { id: 'x' })]);
      const refused = () => journal.append([update('b', { id: 'x' })], keyOf('k'));
      const idTaken = { status: 'rejected', reason: { code: 'ERR_ID_TAKEN' } };
      expect(
        await Promise.allSettled([
          refused(),
          refused(),
          journal.append([update('c')], keyOf('k', { digest: 'of c' })),
        ]),
      ).toMatchObject([idTaken, idTaken, { status: 'fulfilled' }]);
      for (let n = 0; n < 3; n++) await journal.append([update(`${n}`)]);
      await until(async () => !(await journal.locate('x')).found);
      const [ref] = await journal.append([update('b', { id: 'x' })], keyOf('l'));
      expect(await journal.locate('x')).toEqual({ found: true, position: ref?.position });
    });

    test('may have any text as its key, digest and publisher', async () => {
      const journal = await openOne();
      const texts = ['__proto__', 'constructor', '\0', ' ', '"\\\n', '🎉', 'k'.repeat(1024)];
      const append = (text: string) =>
        journal.append(
          [update(text)],
          keyOf(text, { digest: text.slice(0, 64), publisher: text.slice(0, 256) }),
        );
      const first: unknown[] = [];
      for (const text of texts) first.push(await append(text));
      for (const [index, text] of texts.entries()) {
        expect(await append(text)).toEqual(first[index]);
      }
      expect(await readAll(journal)).toHaveLength(texts.length);
    });

    test.each<[string, Partial<AppendKey>]>([
      ['an empty key', { key: '' }],
      ['a key of more than 1,024 bytes', { key: 'é'.repeat(513) }],
      ['an empty digest', { digest: '' }],
      ['a digest of more than 64 bytes', { digest: 'é'.repeat(33) }],
      ['an empty publisher', { publisher: '' }],
      ['a publisher of more than 256 bytes', { publisher: 'é'.repeat(129) }],
    ])('is refused with %s', async (_, wrong) => {
      const journal = await openOne();
      const refused = journal.append([update('a')], keyOf('k', wrong));
      await expect(refused).rejects.toThrow(/1 to 1024 bytes.*1 to 64.*1 to 256/);
      await expect(refused).rejects.toBeInstanceOf(RangeError);
      expect(await readAll(journal)).toEqual([]);
    });

    test('is as with a plain map of keys, whatever comes at once', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(calls, { minLength: 1, maxLength: 4 })), async (all) => {
          const journal = await open(KEEP_ALL);
          const known = new Map<string, { digest: string; refs: unknown }>();
          let length = 0;
          for (const together of all) {
            const results = await Promise.allSettled(
              together.map(({ key, digest, count }) =>
                journal.append(
                  Array.from({ length: count }, () => update('')),
                  keyOf(key, { digest: `${digest} ${count}` }),
                ),
              ),
            );
            for (const [index, { key, digest, count }] of together.entries()) {
              const result = results[index];
              const body = `${digest} ${count}`;
              const before = known.get(key);
              if (before === undefined) {
                expect(result).toMatchObject({ status: 'fulfilled', value: { length: count } });
                const refs = (result as PromiseFulfilledResult<unknown>).value;
                known.set(key, { digest: body, refs });
                length += count;
              } else if (before.digest === body) {
                expect(result).toEqual({ status: 'fulfilled', value: before.refs });
              } else {
                expect(result).toMatchObject({ status: 'rejected', reason: TAKEN });
              }
            }
          }
          expect(await readAll(journal)).toHaveLength(length);
          await journal.close();
        }),
        { numRuns: 30 },
      );
    });
  });

  describe('what is remembered', () => {
    test('is bounded: of a flood, the oldest keys are forgotten and the newest are not', async () => {
      const journal = await openOne();
      const first = () => journal.append([update('first')], keyOf('first', { publisher: 'ada' }));
      const [before] = await first();
      await flood(journal, 'ada', MORE_THAN_ALL);
      const last = () => journal.append([update('last')], keyOf('last', { publisher: 'ada' }));
      const refs = await last();
      expect(await last()).toEqual(refs);
      const [after] = await first();
      expect(after?.position).not.toBe(before?.position);
    });

    test("of one publisher is not pushed out by another's flood, nor of those without a name", async () => {
      const journal = await openOne();
      const publishers = ['bob', undefined, 'eve'];
      const append = () =>
        Promise.all(
          publishers.flatMap((publisher) =>
            Array.from({ length: 20 }, (_, n) =>
              journal.append([update('')], keyOf(`${publisher} ${n}`, { publisher })),
            ),
          ),
        );
      const before = await append();
      await flood(journal, 'ada', MORE_THAN_ALL);
      expect(await append()).toEqual(before);
      await flood(journal, 'zoe', MORE_THAN_ALL);
      expect(await append()).toEqual(before);
    });
  });
}

const calls = fc.record({
  key: fc.constantFrom('a', 'b', 'c'),
  digest: fc.constantFrom('x', 'y', 'x'),
  count: fc.constantFrom(0, 1, 1, 3),
});

/** The same for keepers whose clock is this process's: how long keys are remembered. */
export function testAgeOfKeys(open: (retention: Retention) => Promise<Journal>): void {
  describe('a key', () => {
    test('is remembered for a day, after which an append under it is made anew', async () => {
      const start = Date.now();
      const now = jest.spyOn(Date, 'now').mockReturnValue(start);
      const journal = await open(KEEP_ALL);
      const appendAt = async (ms: number) => {
        now.mockReturnValue(start + ms);
        const [ref] = await journal.append([update('a')], keyOf('k'));
        return ref?.position;
      };
      const first = await appendAt(0);
      expect(await appendAt(KEY_MAX_AGE_MS - 1)).toBe(first);
      const second = await appendAt(KEY_MAX_AGE_MS);
      expect(second).not.toBe(first);
      // The day begins anew with it, and not with a repeat.
      expect(await appendAt(2 * KEY_MAX_AGE_MS - 1)).toBe(second);
      expect(await appendAt(2 * KEY_MAX_AGE_MS)).not.toBe(second);
      await journal.close();
      now.mockRestore();
    });

    test('that is too old is free for other updates', async () => {
      const start = Date.now();
      const now = jest.spyOn(Date, 'now').mockReturnValue(start);
      const journal = await open(KEEP_ALL);
      await journal.append([update('a')], keyOf('k'));
      now.mockReturnValue(start + KEY_MAX_AGE_MS);
      const other = keyOf('k', { digest: 'of another' });
      const refs = await journal.append([update('b')], other);
      expect(await journal.append([update('b')], other)).toEqual(refs);
      await journal.close();
      now.mockRestore();
    });
  });
}
