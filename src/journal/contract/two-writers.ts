import { BEGINNING, comparePositions, type Entry, type EntryRef } from '../journal.js';
import { ascends, equal, ok, rejects } from './assertions.js';
import { type Context, group } from './case.js';
import { keyOf } from './keys.js';
import {
  allTopics,
  dataOf,
  follow,
  listen,
  newestOf,
  readAll,
  until,
  untilTrimmed,
  update,
} from './tools.js';

export const twoWriters = group(
  'two writers',
  (test) => {
    const openBoth = async ({ open, openSecond }: Context, retention = {}) => {
      const a = await open(retention);
      return [a, await openSecond(a)] as const;
    };

    test('what one appends the other is told, in order and once, and reads at once', async (context) => {
      const [a, b] = await openBoth(context);
      const heard = await listen(b);
      for (let n = 0; n < 20; n += 1) {
        await a.append([update(`${n}`), update(`${n} too`)]);
        equal((await newestOf(b, 't', 1))[0]?.data, `${n} too`);
      }
      await until(() => heard.length >= 40);
      equal(heard, await readAll(a));
      equal(heard, await readAll(b));
    });

    test('appending at the same time, both are told all in one order, each call in one piece', async (context) => {
      const both = await openBoth(context);
      const heard = await Promise.all(both.map((each) => listen(each)));
      const refs = await Promise.all(
        both.map(async (each, writer) => {
          const own: EntryRef[] = [];
          for (let n = 0; n < 100; n += 1) {
            const call = [0, 1, 2].map((part) => update(`${writer} ${n} ${part}`));
            own.push(...(await each.append(call)));
          }
          return own;
        }),
      );
      await until(() => heard.every(({ length }) => length >= 600));
      const entries = await readAll(both[0]);
      ascends(entries);
      for (const each of heard) equal(each, entries);
      for (const own of refs) ascends(own);
      const positions = new Set(entries.map(({ position }) => position));
      equal(positions, new Set(refs.flat().map(({ position }) => position)));
      for (let n = 0; n < entries.length; n += 3) {
        const call = dataOf(entries.slice(n, n + 3)).map((data) => data.slice(0, -2));
        equal(new Set(call).size, 1, 'a call in one piece');
      }
    });

    test('what one appends is told to its own followers before it is acknowledged, and after all that came before', async (context) => {
      const [a, b] = await openBoth(context);
      const heard = await listen(a);
      for (let n = 0; n < 20; n += 1) {
        await b.append([update(`theirs ${n}`)]);
        await a.append([update(`own ${n}`)]);
        equal(heard.length, 2 * n + 2);
        equal(dataOf(heard.slice(-2)), [`theirs ${n}`, `own ${n}`]);
      }
    });

    test('an own id of one is taken for the other, and repeated there gives the place of the first', async (context) => {
      const [a, b] = await openBoth(context);
      const [first] = await a.append([update('d', { id: 'x', scope: 's' })]);
      equal(await b.append([update('d', { id: 'x', scope: 's' })]), [first]);
      await rejects(b.append([update('other', { id: 'x', scope: 's' })]), 'ERR_ID_TAKEN', /"x"/);
      const [inOther] = await b.append([update('d', { id: 'x' })]);
      ok(inOther?.position !== first?.position, 'another scope, another update');
      equal((await readAll(a)).length, 2);
    });

    test('the same id appended by both at the same time is one update', async (context) => {
      const both = await openBoth(context);
      for (let n = 0; n < 20; n += 1) {
        const calls = both.map((each) => each.append([update('d', { id: `x ${n}` })]));
        const [one, other] = await Promise.all(calls);
        equal(one, other);
      }
      equal((await readAll(both[1])).length, 20);
    });

    test('what one has appended under a key is answered to the other as the first time', async (context) => {
      const [a, b] = await openBoth(context);
      const refs = await a.append([update('d'), update('e', { id: 'own' })], keyOf('k'));
      equal(await b.append([update('d'), update('e', { id: 'own' })], keyOf('k')), refs);
      await rejects(
        b.append([update('other')], keyOf('k', { digest: 'of another' })),
        'ERR_KEY_TAKEN',
      );
      for (let n = 0; n < 20; n += 1) {
        const calls = [a, b].map((each) => each.append([update('f')], keyOf(`at once ${n}`)));
        const [one, other] = await Promise.all(calls);
        equal(one, other);
      }
      equal((await readAll(b)).length, 22);
    });

    test('ids, topics, bounds and positions are the same for both', async (context) => {
      const [a, b] = await openBoth(context);
      const refs = [
        ...(await a.append([update('1', { id: 'own', topics: ['a'] })])),
        ...(await b.append([update('2', { topics: ['b', 'c'] })])),
      ];
      for (const each of [a, b]) {
        for (const { id, position } of refs) {
          equal(await each.locate(id), { found: true, position });
          equal(await each.locate(position), { found: true, position });
        }
        equal((await allTopics(each)).sort(), ['a', 'b', 'c']);
        equal(await each.bounds(), { oldest: refs[0], head: refs[1] });
      }
    });

    test('following begins after a position that the other has given', async (context) => {
      const [a, b] = await openBoth(context);
      const refs = await a.append(Array.from({ length: 1_500 }, (_, n) => update(`${n}`)));
      const after = refs[9]?.position;
      const heard = await listen(b, after);
      await a.append([update('live')]);
      await until(() => heard.length >= 1_491);
      equal(heard, await readAll(a, { after }));
      const { after: began } = await follow(b, () => undefined);
      equal(began, (await a.bounds()).head?.position);
    });

    test('retention counts once for both: what one has trimmed is trimmed for the other', async (context) => {
      const [a, b] = await openBoth(context, { maxUpdates: 10 });
      const refs: EntryRef[] = [];
      for (let n = 0; n < 30; n += 1) {
        refs.push(...(await (n % 2 ? a : b).append([update(`${n}`)])));
      }
      await untilTrimmed(a, 10);
      for (const each of [a, b]) {
        equal(
          dataOf(await readAll(each)),
          Array.from({ length: 10 }, (_, n) => `${20 + n}`),
        );
        equal(await each.locate(refs[5]?.id as string), { found: false, reason: 'trimmed' });
        const { trimmed } = await each.read({
          after: refs[5]?.position,
          maxEntries: 1,
          maxLength: 1,
        });
        equal(trimmed, true);
      }
    });

    test('one that closes leaves the other at work', async (context) => {
      const [a, b] = await openBoth(context);
      const heard: Entry[] = await listen(a);
      await b.append([update('1')]);
      await b.close();
      await rejects(b.append([update('2')]), 'ERR_JOURNAL_CLOSED');
      await a.append([update('3')]);
      equal(dataOf(heard), ['1', '3']);
    });

    test('positions never run backwards, whoever appends next', async (context) => {
      const [a, b] = await openBoth(context);
      let last = BEGINNING;
      for (let n = 0; n < 200; n += 1) {
        const [ref] = (await (n % 3 ? a : b).append([update('')])) as [EntryRef];
        ok(comparePositions(last, ref.position) < 0);
        last = ref.position;
      }
    });
  },
  ['openSecond'],
);
