import { isPosition, type Update } from '../journal.js';
import { ascends, equal } from './assertions.js';
import { group } from './case.js';
import { dataOf, listen, newestOf, readAll, update } from './tools.js';

export const appending = group('append', (test) => {
  test('gives each update its place, in order, and an id that is its position', async ({
    open,
  }) => {
    const journal = await open();
    const refs = [
      ...(await journal.append([update('a'), update('b')])),
      ...(await journal.append([update('c')])),
    ];
    for (const { id, position } of refs) {
      equal(isPosition(position), true);
      equal(id, position);
    }
    ascends(refs);
    equal(dataOf(await readAll(journal)), ['a', 'b', 'c']);
  });

  test('keeps every field as it was, whatever the text', async ({ open }) => {
    const journal = await open();
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
    equal(
      entries,
      updates.map((each, index) => ({ ...each, ...refs[index] })),
    );
    equal(entries[4]?.id, 'urn:uuid:é');
  });

  test('tells updates of one call apart that differ in one field alone', async ({ open }) => {
    const journal = await open();
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
    equal(await readAll(journal), expected);
    for (const [index, { position }] of [...refs.entries()].reverse()) {
      const [entry] = await readAll(journal, { from: position, maxEntries: 1 });
      equal(entry, expected[index]);
    }
  });

  test('of nothing gives nothing, and nobody hears of it', async ({ open }) => {
    const journal = await open();
    const heard = await listen(journal);
    equal(await journal.append([]), []);
    equal(heard, []);
    equal(await readAll(journal), []);
  });

  test('can be read as soon as it resolves', async ({ open }) => {
    const journal = await open();
    for (let n = 0; n < 20; n++) {
      await journal.append([update(`${n}`)]);
      equal((await newestOf(journal, 't', 1))[0]?.data, `${n}`);
    }
  });

  test('takes thousands at once: told, read and positioned in one order, each call in one piece', async ({
    open,
  }) => {
    const journal = await open();
    const heard = await listen(journal);
    const calls = Array.from({ length: 3000 }, (_, call) =>
      journal.append(Array.from({ length: 1 + (call % 4) }, (_, n) => update(`${call}.${n}`))),
    );
    const refs = (await Promise.all(calls)).flat();
    const entries = await readAll(journal);
    ascends(entries);
    equal(
      entries.map(({ id }) => id),
      refs.map(({ id }) => id),
    );
    equal(heard, entries);
    const expected = calls.flatMap((_, call) =>
      Array.from({ length: 1 + (call % 4) }, (_, n) => `${call}.${n}`),
    );
    equal(dataOf(entries), expected);
  });

  test('keeps a call in one piece that is larger than the calls around it', async ({ open }) => {
    const journal = await open();
    const large = Array.from({ length: 5000 }, (_, n) => update(`large ${n}`));
    await Promise.all([
      journal.append([update('before')]),
      journal.append(large),
      journal.append([update('after')]),
    ]);
    equal(dataOf(await readAll(journal)), ['before', ...dataOf(large), 'after']);
  });
});
