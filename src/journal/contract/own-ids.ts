import { comparePositions, type EntryRef, type Journal, type Update } from '../journal.js';
import { equal, matches, ok, rejects } from './assertions.js';
import { group } from './case.js';
import { dataOf, listen, readAll, untilTrimmed, update } from './tools.js';

export const ownIds = group("a publisher's own id", (test) => {
  test('that is repeated with the same content gives the place of the first, and nothing anew', async ({
    open,
  }) => {
    const journal = await open();
    const heard = await listen(journal);
    const same = { id: 'x', type: 'e', retry: 1, topics: ['a', 'b'], private: true };
    const [first] = await journal.append([update('d', same)]);
    const again = await journal.append([update('new'), update('d', { ...same })]);
    equal(again[1], first);
    equal(dataOf(await readAll(journal)), ['d', 'new']);
    equal(dataOf(heard), ['d', 'new']);
  });

  for (const [what, other] of [
    ['data', { data: 'other' }],
    ['type', { type: 'other' }],
    ['retry', { retry: 2 }],
    ['privacy', { private: true }],
    ['topics', { topics: ['t', 'u'] }],
    ['order of topics', { topics: ['t', 'a'] }],
  ] as const) {
    test(`that is repeated with other ${what} is refused, and all that came with it`, async ({
      open,
    }) => {
      const journal = await open();
      const heard = await listen(journal);
      const first = update('d', { id: 'x', type: 'e', retry: 1, topics: ['a', 't'] });
      await journal.append([first]);
      const refused = journal.append([
        update('with it', { id: 'y' }),
        { ...first, ...other },
        update('with it too'),
      ]);
      await rejects(refused, 'ERR_ID_TAKEN', /"x"/);
      equal(dataOf(await readAll(journal)), ['d']);
      equal(dataOf(heard), ['d']);
      equal(await journal.locate('y'), { found: false, reason: 'unknown' });
      // The id that came with it is free.
      await journal.append([update('now', { id: 'y' })]);
    });
  }

  test('counts at once for calls that are under way together', async ({ open }) => {
    const journal = await open();
    const heard = await listen(journal);
    const results = await Promise.allSettled([
      journal.append([update('one', { id: 'x' })]),
      journal.append([update('alone'), update('one', { id: 'x' })]),
      journal.append([update('refused'), update('two', { id: 'x' })]),
      journal.append([update('fine', { id: 'y' })]),
      journal.append([update('fine', { id: 'y' })]),
    ]);
    equal(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    );
    equal(dataOf(await readAll(journal)), ['one', 'alone', 'fine']);
    equal(dataOf(heard), ['one', 'alone', 'fine']);
  });

  test('counts within one call', async ({ open }) => {
    const journal = await open();
    const refs = await journal.append([
      update('a', { id: 'x' }),
      update('b'),
      update('a', { id: 'x' }),
    ]);
    equal(refs[2], refs[0]);
    await rejects(
      journal.append([update('c', { id: 'z' }), update('d', { id: 'z' })]),
      'ERR_ID_TAKEN',
    );
    equal(dataOf(await readAll(journal)), ['a', 'b']);
  });

  test('is free again once its entry has been trimmed', async ({ open }) => {
    const journal = await open({ maxUpdates: 2 });
    const [first] = await journal.append([update('a', { id: 'x' })]);
    await journal.append([update('b')]);
    await journal.append([update('c')]);
    await untilTrimmed(journal, 2);
    const [again] = await journal.append([update('other', { id: 'x' })]);
    ok(comparePositions((first as EntryRef).position, (again as EntryRef).position) < 0);
    equal(await journal.locate('x'), { found: true, position: again?.position });
  });
});

export const scopes = group('own ids in scopes', (test) => {
  const inScope = (scope: string | undefined, data: string, rest: Partial<Update> = {}): Update =>
    update(data, { id: 'x', scope, ...rest });

  test('are ids of different updates, each with its own repeats', async ({ open }) => {
    const journal = await open();
    const scopes = [undefined, '', 'a', 'b', 'x'];
    const refs: EntryRef[] = [];
    for (const scope of scopes)
      refs.push(...(await journal.append([inScope(scope, `of ${scope}`)])));
    equal(new Set(refs.map(({ position }) => position)).size, scopes.length);
    for (const [index, scope] of scopes.entries()) {
      equal(await journal.append([inScope(scope, `of ${scope}`)]), [refs[index]]);
      const taken = journal.append([inScope(scope, 'other')]);
      await rejects(taken, 'ERR_ID_TAKEN');
    }
    equal((await readAll(journal)).length, scopes.length);
  });

  test('are so for calls under way together and within one call', async ({ open }) => {
    const journal = await open();
    const results = await Promise.allSettled([
      journal.append([inScope('a', 'one'), inScope('b', 'two')]),
      journal.append([inScope('a', 'one')]),
      journal.append([inScope('b', 'one'), update('with it', { id: 'y', scope: 'b' })]),
      journal.append([update('free', { id: 'y', scope: 'b' })]),
    ]);
    equal(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
    );
    equal(dataOf(await readAll(journal)), ['one', 'two', 'free']);
  });

  test('are located as the oldest that is admitted, and unknown if none is', async ({ open }) => {
    const journal = await open();
    const [secret] = await journal.append([inScope('a', 'secret', { private: true })]);
    const [visible] = await journal.append([inScope('b', 'open', { topics: ['u'] })]);
    await journal.append([inScope('c', 'open too')]);
    equal(await journal.locate('x'), { found: true, position: secret?.position });
    const admitted = (admits: Parameters<Journal['locate']>[1]) => journal.locate('x', admits);
    equal(await admitted((entry) => !entry.private), {
      found: true,
      position: visible?.position,
    });
    equal(await admitted(() => false), { found: false, reason: 'unknown' });
    equal(await admitted(() => false), await journal.locate('never', () => false));
    // Positions are no secret.
    matches(await journal.locate(secret?.position ?? '', () => false), {
      found: true,
    });
  });

  test('are asked about also of the newest that was trimmed', async ({ open }) => {
    const journal = await open({ maxUpdates: 1 });
    const [secret] = await journal.append([inScope('a', 'secret', { private: true })]);
    await journal.append([update('b')]);
    await untilTrimmed(journal, 1);
    const seen: unknown[] = [];
    const located = await journal.locate('x', ({ topics, private: isPrivate }) => {
      seen.push(topics, isPrivate);
      return false;
    });
    equal(located, { found: false, reason: 'unknown' });
    equal(seen, [['t'], true]);
    equal(await journal.locate('x', () => true), {
      found: true,
      position: secret?.position,
    });
  });

  test('are free in one when its entry is trimmed, and held in the others', async ({ open }) => {
    const journal = await open({ maxUpdates: 2 });
    await journal.append([inScope('a', 'one')]);
    const [b] = await journal.append([inScope('b', 'two')]);
    await journal.append([inScope('c', 'three')]);
    await untilTrimmed(journal, 2);
    equal(await journal.locate('x'), { found: true, position: b?.position });
    await rejects(journal.append([inScope('b', 'other')]), 'ERR_ID_TAKEN', /"x"/);
    await journal.append([inScope('a', 'other')]);
  });
});
