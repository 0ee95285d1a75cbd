import { BEGINNING, type Entry, type EntryRef } from '../journal.js';
import { equal } from './assertions.js';
import { group } from './case.js';
import { dataOf, follow, listen, readAll, until, untilTrimmed, update } from './tools.js';

export const following = group('follow', (test) => {
  test('tells of an entry once, before its append resolves, and not of what was before', async ({
    open,
  }) => {
    const journal = await open();
    await journal.append([update('before')]);
    const order: string[] = [];
    await follow(journal, (entries) => void order.push(...dataOf(entries)));
    await journal.append([update('a'), update('b')]).then(() => order.push('resolved'));
    await journal.append([update('c')]).then(() => order.push('resolved'));
    equal(order, ['a', 'b', 'resolved', 'c', 'resolved']);
  });

  test('tells what is read: the same ids, positions and content', async ({ open }) => {
    const journal = await open();
    const heard = await listen(journal);
    await journal.append([update('a', { id: 'own', type: 'x', retry: 1 }), update('b')]);
    equal(heard, await readAll(journal));
  });

  test('stops when told so, for that follower alone, even if it follows twice', async ({
    open,
  }) => {
    const journal = await open();
    const heard: string[] = [];
    const listener = (entries: readonly Entry[]): void => void heard.push(...dataOf(entries));
    const following = await follow(journal, listener);
    await follow(journal, listener);
    await journal.append([update('a')]);
    following.close();
    following.close();
    await journal.append([update('b')]);
    equal(heard, ['a', 'a', 'b']);
  });

  test('keeps the order for all when a follower appends', async ({ open }) => {
    const journal = await open();
    const first: string[] = [];
    const second: string[] = [];
    const appended: Promise<unknown>[] = [];
    await follow(journal, (entries) => {
      first.push(...dataOf(entries));
      if (first.length < 5) appended.push(journal.append([update(`${first.length}`)]));
    });
    await follow(journal, (entries) => void second.push(...dataOf(entries)));
    await journal.append([update('0')]);
    while (appended.length > 0) await appended.shift();
    equal(first, ['0', '1', '2', '3', '4']);
    equal(second, first);
  });

  test('begins after a position: what is held after it comes first, then what is appended', async ({
    open,
  }) => {
    const journal = await open();
    const refs = await journal.append(Array.from({ length: 2_000 }, (_, n) => update(`${n}`)));
    const [, second] = refs as [EntryRef, EntryRef];
    for (const after of [BEGINNING, second.position, refs.at(-1)?.position as string]) {
      const heard: Entry[] = [];
      const following = await follow(journal, (entries) => void heard.push(...entries), after);
      equal(following.after, after);
      await journal.append([update('live')]);
      equal(heard.at(-1)?.data, 'live');
      equal(heard, await readAll(journal, { after }));
      following.close();
    }
  });

  test('says where it began: at the newest entry, or at the beginning', async ({ open }) => {
    const journal = await open({ maxUpdates: 1 });
    equal((await follow(journal, () => {})).after, BEGINNING);
    await journal.append([update('a')]);
    const [b] = await journal.append([update('b')]);
    equal((await follow(journal, () => {})).after, b?.position);
    equal((await follow(journal, () => {}, '9999999999999-9')).after, b?.position);
  });

  test('tells everything once and in order while others append', async ({ open }) => {
    const journal = await open();
    await journal.append(Array.from({ length: 1_500 }, (_, n) => update(`${n}`)));
    const heard: Entry[] = [];
    const appending = (async () => {
      for (let n = 1_500; n < 1_600; n++) await journal.append([update(`${n}`)]);
    })();
    const starting = follow(journal, (entries) => void heard.push(...entries), BEGINNING);
    await Promise.all([appending, starting]);
    await until(() => heard.length >= 1_600);
    equal(heard, await readAll(journal));
    equal(heard.length, 1_600);
  });

  test('tells that its place is lost where entries after the position have been trimmed', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 3 });
    const [first] = await journal.append([update('0')]);
    for (let n = 1; n < 10; n++) await journal.append([update(`${n}`)]);
    await untilTrimmed(journal, 3);
    const told: string[] = [];
    let through = BEGINNING;
    await journal.follow(
      {
        entries: (entries) => void told.push(...dataOf(entries)),
        lost(position) {
          told.push('lost');
          through = position;
        },
      },
      first?.position,
    );
    await journal.append([update('live')]);
    equal(told[0], 'lost');
    equal(told.indexOf('lost', 1), -1);
    // A client can be put there.
    equal((await journal.locate(through)).found, true);
    equal(told.slice(1), dataOf(await readAll(journal, { after: through })));
  });

  test('a follower that stops while being told does not keep others from hearing', async ({
    open,
  }) => {
    const journal = await open();
    const heard: string[] = [];
    const following = await follow(journal, () => following.close());
    await follow(journal, (entries) => void heard.push(...dataOf(entries)));
    await journal.append([update('a')]);
    await journal.append([update('b')]);
    equal(heard, ['a', 'b']);
  });
});
