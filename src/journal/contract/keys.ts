import {
  type AppendKey,
  type EntryRef,
  type Journal,
  KEY_MAX_AGE_MS,
  MAX_KEYS_BYTES,
  type Update,
} from '../journal.js';
import { equal, ok, rejects } from './assertions.js';
import { group } from './case.js';
import { withSeeds } from './random.js';
import { dataOf, readAll, until, update } from './tools.js';

export const keys = group('an append under a key', (test) => {
  test('that is repeated is answered as the first was, and appends nothing', async ({ open }) => {
    const journal = await open();
    const refs = await journal.append([update('a'), update('b')], keyOf('k'));
    await journal.append([update('between')]);
    for (let n = 0; n < 3; n++) {
      equal(await journal.append([update('a'), update('b')], keyOf('k')), refs);
    }
    equal(dataOf(await readAll(journal)), ['a', 'b', 'between']);
  });

  test('that is another one, or under none, is made', async ({ open }) => {
    const journal = await open();
    const refs: EntryRef[] = [];
    for (const options of [keyOf('k'), keyOf('K'), undefined, undefined, {}, keyOf('k ')]) {
      refs.push(...(await journal.append([update('a')], options)));
    }
    equal(new Set(refs.map(({ position }) => position)).size, 6);
  });

  test('with another digest is refused, and appends nothing', async ({ open }) => {
    const journal = await open();
    const refs = await journal.append([update('a')], keyOf('k'));
    const other = journal.append([update('b')], keyOf('k', { digest: 'of another' }));
    await rejects(other, 'ERR_KEY_TAKEN');
    equal(await journal.append([update('a')], keyOf('k')), refs);
    equal(dataOf(await readAll(journal)), ['a']);
  });

  test('of more or fewer updates than the first is refused', async ({ open }) => {
    const journal = await open();
    await journal.append([update('a'), update('b')], keyOf('k'));
    for (const updates of [[], [update('a')], [update('a'), update('b'), update('c')]]) {
      await rejects(journal.append(updates, keyOf('k')), 'ERR_KEY_TAKEN');
    }
  });

  test('is answered the same when its updates have been trimmed', async ({ open }) => {
    const journal = await open({ maxUpdates: 2 });
    const updates = [update('a', { id: 'own' }), update('b')];
    const refs = await journal.append(updates, keyOf('k'));
    for (let n = 0; n < 5; n++) await journal.append([update(`${n}`)]);
    await until(async () => (await readAll(journal)).length <= 2);
    equal(await journal.append(updates, keyOf('k')), refs);
    equal(dataOf(await readAll(journal)), ['3', '4']);
  });

  test("of own ids, the journal's and a mixture, some of them held before, is answered with these", async ({
    open,
  }) => {
    const journal = await open();
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
      equal(
        refs.map(({ id, position }) => [id, position]),
        updates.map(({ data }) => {
          const entry = all.find((each) => each.data === data);
          return [entry?.id, entry?.position];
        }),
      );
      equal(await journal.append(updates, keyOf(`k${index}`)), refs);
      equal(await readAll(journal), all);
      equal(all.slice(0, held.length), held);
    }
  });

  test('may have 10,000 updates, of any ids', async ({ open }) => {
    const journal = await open();
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
      equal(await journal.append(updates, options), refs);
      equal((await journal.bounds()).head, head);
    }
  });

  test('tells followers once', async ({ open }) => {
    const journal = await open();
    const told: string[] = [];
    await journal.follow({
      entries: (entries) => void told.push(...dataOf(entries)),
      lost: () => undefined,
    });
    for (let n = 0; n < 2; n++) await journal.append([update('a')], keyOf('k'));
    await Promise.all([1, 2].map(() => journal.append([update('b')], keyOf('l'))));
    equal(told, ['a', 'b']);
  });

  test('that is repeated while it is under way waits for it, and is answered the same', async ({
    open,
  }) => {
    const journal = await open();
    const large = Array.from({ length: 2000 }, (_, n) => update(`${n}`));
    const [first, ...others] = await Promise.all([
      journal.append(large, keyOf('k')),
      ...Array.from({ length: 20 }, () => journal.append(large, keyOf('k'))),
    ]);
    for (const other of others) equal(other, first);
    equal((await readAll(journal)).length, 2000);
  });

  test('with another digest than one under way is refused', async ({ open }) => {
    const journal = await open();
    const results = await Promise.allSettled([
      journal.append([update('a')], keyOf('k')),
      journal.append([update('b')], keyOf('k', { digest: 'of another' })),
      journal.append([update('a')], keyOf('k')),
    ]);
    equal(results.map(outcomeOf), ['made', 'ERR_KEY_TAKEN', 'made']);
    equal(dataOf(await readAll(journal)), ['a']);
  });

  test('that was refused is made anew, also if it is repeated while under way', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 2 });
    await journal.append([update('a', { id: 'x' })]);
    const refused = () => journal.append([update('b', { id: 'x' })], keyOf('k'));
    const results = await Promise.allSettled([
      refused(),
      refused(),
      journal.append([update('c')], keyOf('k', { digest: 'of c' })),
    ]);
    equal(results.map(outcomeOf), ['ERR_ID_TAKEN', 'ERR_ID_TAKEN', 'made']);
    for (let n = 0; n < 3; n++) await journal.append([update(`${n}`)]);
    await until(async () => !(await journal.locate('x')).found);
    const [ref] = await journal.append([update('b', { id: 'x' })], keyOf('l'));
    equal(await journal.locate('x'), { found: true, position: ref?.position });
  });

  test('may have any text as its key, digest and publisher', async ({ open }) => {
    const journal = await open();
    const texts = ['__proto__', 'constructor', '\0', ' ', '"\\\n', '🎉', 'k'.repeat(1024)];
    const append = (text: string) =>
      journal.append(
        [update(text)],
        keyOf(text, { digest: text.slice(0, 64), publisher: text.slice(0, 256) }),
      );
    const first: unknown[] = [];
    for (const text of texts) first.push(await append(text));
    for (const [index, text] of texts.entries()) {
      equal(await append(text), first[index]);
    }
    equal((await readAll(journal)).length, texts.length);
  });

  for (const [what, wrong] of [
    ['an empty key', { key: '' }],
    ['a key of more than 1,024 bytes', { key: 'é'.repeat(513) }],
    ['an empty digest', { digest: '' }],
    ['a digest of more than 64 bytes', { digest: 'é'.repeat(33) }],
    ['an empty publisher', { publisher: '' }],
    ['a publisher of more than 256 bytes', { publisher: 'é'.repeat(129) }],
  ] as const) {
    test(`is refused with ${what}`, async ({ open }) => {
      const journal = await open();
      const [refused] = await Promise.allSettled([
        journal.append([update('a')], keyOf('k', wrong)),
      ]);
      ok(refused?.status === 'rejected' && refused.reason instanceof RangeError);
      equal(await readAll(journal), []);
    });
  }

  test('is as with a plain map of keys, whatever comes at once', async ({ open }) => {
    await withSeeds(30, async (random, length) => {
      const journal = await open();
      const known = new Map<string, { digest: string; refs: unknown }>();
      let appended = 0;
      for (let n = 0; n < length; n += 1) {
        const calls = random.list(
          4,
          () => {
            const count = random.pick([0, 1, 1, 3]);
            return {
              count,
              key: random.pick(['a', 'b', 'c']),
              digest: `${random.below(2)} ${count}`,
            };
          },
          1,
        );
        const results = await Promise.allSettled(
          calls.map(({ key, digest, count }) =>
            journal.append(
              Array.from({ length: count }, () => update('')),
              keyOf(key, { digest }),
            ),
          ),
        );
        for (const [index, { key, digest, count }] of calls.entries()) {
          const result = results[index] as PromiseSettledResult<readonly EntryRef[]>;
          const before = known.get(key);
          if (before === undefined) {
            equal(outcomeOf(result), 'made');
            const refs = result.status === 'fulfilled' ? result.value : [];
            equal(refs.length, count);
            known.set(key, { digest, refs });
            appended += count;
          } else if (before.digest === digest) {
            equal(result, { status: 'fulfilled', value: before.refs });
          } else {
            equal(outcomeOf(result), 'ERR_KEY_TAKEN');
          }
        }
      }
      equal((await readAll(journal)).length, appended);
      await journal.close();
    });
  });
});

export const rememberedKeys = group('what is remembered of keys', (test) => {
  test('is bounded: of a flood, the oldest keys are forgotten and the newest are not', async ({
    open,
  }) => {
    const journal = await open();
    const first = () => journal.append([update('first')], keyOf('first', { publisher: 'ada' }));
    const [before] = await first();
    await flood(journal, () => 'ada', MORE_THAN_ALL);
    const last = () => journal.append([update('last')], keyOf('last', { publisher: 'ada' }));
    const refs = await last();
    equal(await last(), refs);
    const [after] = await first();
    ok(after?.position !== before?.position);
  });

  for (const [whose, publisherOf] of [
    ['another publisher', () => 'ada'],
    ['fifty others', (n: number) => `one of fifty, ${n % 50}`],
  ] as const) {
    test(`is not pushed out by a flood of ${whose}, of publishers with a name and those without`, async ({
      open,
    }) => {
      const journal = await open();
      const append = () =>
        Promise.all(
          ['bob', undefined, 'eve'].flatMap((publisher) =>
            Array.from({ length: 20 }, (_, n) =>
              journal.append([update('')], keyOf(`${publisher} ${n}`, { publisher })),
            ),
          ),
        );
      const before = await append();
      await flood(journal, publisherOf, MORE_THAN_ALL);
      equal(await append(), before);
    });
  }
});

export const agesOfKeys = group(
  'a key',
  (test) => {
    test('is remembered for a day, after which an append under it is made anew', async ({
      open,
      setClock,
    }) => {
      const start = Date.now();
      setClock(start);
      const journal = await open();
      const appendAt = async (ms: number) => {
        setClock(start + ms);
        const [ref] = await journal.append([update('a')], keyOf('k'));
        return ref?.position;
      };
      const first = await appendAt(0);
      equal(await appendAt(KEY_MAX_AGE_MS - 1), first);
      const second = await appendAt(KEY_MAX_AGE_MS);
      ok(second !== first);
      // The day begins anew with it, and not with a repeat.
      equal(await appendAt(2 * KEY_MAX_AGE_MS - 1), second);
      ok((await appendAt(2 * KEY_MAX_AGE_MS)) !== second);
    });

    test('that is too old is free for other updates', async ({ open, setClock }) => {
      const start = Date.now();
      setClock(start);
      const journal = await open();
      await journal.append([update('a')], keyOf('k'));
      setClock(start + KEY_MAX_AGE_MS);
      const other = keyOf('k', { digest: 'of another' });
      const refs = await journal.append([update('b')], other);
      equal(await journal.append([update('b')], other), refs);
    });
  },
  ['setClock'],
);

/** A key whose digest stands for one body, or as said. */
export function keyOf(key: string, rest: Partial<AppendKey> = {}): { key: AppendKey } {
  return { key: { key, digest: 'of the body', ...rest } };
}

/** So many keys come to more than a journal remembers: each counts 350 bytes and its text. */
const LONG_KEY = 'k'.repeat(1000);
const MORE_THAN_ALL = Math.ceil(MAX_KEYS_BYTES / (350 + LONG_KEY.length)) + 1000;

/** Appends one update under each of many long keys, some at once. */
async function flood(
  journal: Journal,
  publisherOf: (n: number) => string,
  count: number,
): Promise<void> {
  for (let n = 0; n < count; n += 500) {
    const some = Array.from({ length: Math.min(500, count - n) }, (_, m) => {
      const publisher = publisherOf(n + m);
      return journal.append(
        [update('')],
        keyOf(`${publisher} ${n + m} ${LONG_KEY}`, { publisher }),
      );
    });
    await Promise.all(some);
  }
}

/** `made`, or the code of the error. */
function outcomeOf(result: PromiseSettledResult<unknown>): string {
  return result.status === 'fulfilled' ? 'made' : result.reason.code;
}
