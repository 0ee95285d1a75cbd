import {
  comparePositions,
  ENDING_MAX_AGE_MS,
  type Ending,
  type EntryRef,
  type Journal,
  MAX_ENDINGS_BYTES,
  type Update,
} from '../journal.js';
import { equal, matches, ok, rejects } from './assertions.js';
import { group } from './case.js';
import { keyOf } from './keys.js';
import {
  allEndings,
  dataOf,
  listen,
  newestOf,
  readAll,
  until,
  untilTrimmed,
  update,
} from './tools.js';

export const endedTopics = group('an ended topic', (test) => {
  test('has a last update, which says so to all who read and follow', async ({ open }) => {
    const journal = await open();
    const heard = await listen(journal);
    await journal.append([update('a'), last('b')]);
    const lasts = [undefined, true];
    const all = await readAll(journal);
    equal(all.map(lastOf), lasts);
    equal(heard, all);
    equal((await readAll(journal, { topics: ['t'] })).map(lastOf), lasts);
    equal((await newestOf(journal, 't', 2)).map(lastOf), lasts);
    const toldAgain = await listen(journal, all[0]?.position);
    await until(() => toldAgain.length > 0);
    equal(toldAgain.map(lastOf), [true]);
  });

  test('takes no update, which is told with its name, nor any that came with it', async ({
    open,
  }) => {
    const journal = await open();
    await journal.append([last('end', { topics: ['a "topic"'] })]);
    const heard = await listen(journal);
    const call = [
      update('with it', { id: 'x' }),
      update('late', { topics: ['t', 'a "topic"'] }),
      update('with it too'),
    ];
    await rejects(journal.append(call), 'ERR_TOPIC_ENDED', /"a \\"topic\\""/);
    for (const rest of [{ last: true }, { private: true }, { reopen: false }]) {
      const late = update('late', { topics: ['a "topic"'], ...rest });
      await rejects(journal.append([late]), 'ERR_TOPIC_ENDED');
    }
    equal(dataOf(await readAll(journal)), ['end']);
    equal(await journal.locate('x'), { found: false, reason: 'unknown' });
    equal(heard, []);
    await journal.append([update('now', { id: 'x' })]);
  });

  test('has ended with all topics of its last update, and with no other', async ({ open }) => {
    const journal = await open();
    await journal.append([last('end', { topics: ['a', 'b', 'c'] })]);
    for (const topic of ['a', 'b', 'c']) {
      const late = update('late', { topics: [topic] });
      await rejects(journal.append([late]), 'ERR_TOPIC_ENDED', new RegExp(`"${topic}"`));
    }
    await journal.append(['A', 'a ', 'd'].map((topic) => update('other', { topics: [topic] })));
  });

  test('goes on once it is reopened', async ({ open }) => {
    const journal = await open();
    const heard = await listen(journal);
    await journal.append([last('end')]);
    await journal.append([reopening('again')]);
    await journal.append([update('more')]);
    equal(dataOf(heard), ['end', 'again', 'more']);
    equal(heard.map(lastOf), [true, undefined, undefined]);
    ok(!heard.some((entry) => 'reopen' in entry), 'whether it reopened is not kept');
    equal(await allEndings(journal), []);
    await journal.append([last('end')]);
    await rejects(journal.append([update('late')]), 'ERR_TOPIC_ENDED');
  });

  test('may be any text', async ({ open }) => {
    const journal = await open();
    const topics = ['__proto__', 'constructor', '\0', ' ', '"\\\n', '🎉', '*', 't'.repeat(1024)];
    await journal.append(topics.map((topic) => last('end', { topics: [topic] })));
    for (const topic of topics) {
      await rejects(journal.append([update('late', { topics: [topic] })]), 'ERR_TOPIC_ENDED');
    }
    equal((await allEndings(journal)).flatMap(({ ended }) => ended).sort(), topics.sort());
    const [one] = await journal.append([update('again', { topics, reopen: true })]);
    equal(await allEndings(journal), []);
    ok(one !== undefined);
  });

  test('is one among many of the last update that are reopened one by one', async ({ open }) => {
    const journal = await open();
    const topics = Array.from({ length: 100 }, (_, n) => `${n}`);
    const [ref] = await journal.append([last('end', { topics })]);
    const left = [...topics];
    for (const n of [99, 0, 50, 98, 1]) {
      await journal.append([reopening('', { topics: [`${n}`] })]);
      left.splice(left.indexOf(`${n}`), 1);
      const [ending, ...others] = await allEndings(journal);
      equal(others, []);
      equal(ending?.ended, left);
      equal(ending?.update, { ...ref, topics, private: false });
    }
    await journal.append([update('', { topics: ['0', '1', '50', '98', '99'] })]);
    await rejects(journal.append([update('', { topics: ['0', '51'] })]), 'ERR_TOPIC_ENDED', /"51"/);
    await journal.append([reopening('', { topics })]);
    equal(await allEndings(journal), []);
  });

  test('may be reopened and ended by the same update: it has ended anew', async ({ open }) => {
    const journal = await open();
    const [first] = await journal.append([last('end', { topics: ['a', 'b'] })]);
    const [second] = await journal.append([last('end again', { topics: ['b'], reopen: true })]);
    await rejects(journal.append([update('', { topics: ['b'] })]), 'ERR_TOPIC_ENDED');
    equal(await placesOf(journal), [
      [first?.position, ['a']],
      [second?.position, ['b']],
    ]);
  });

  test('need not have ended to be reopened', async ({ open }) => {
    const journal = await open();
    await journal.append([reopening('a'), update('b')]);
    const [end] = await journal.append([last('end', { reopen: true })]);
    await rejects(journal.append([update('late')]), 'ERR_TOPIC_ENDED');
    equal(await placesOf(journal), [[end?.position, ['t']]]);
  });

  test('ends and goes on in the order of the updates of a call', async ({ open }) => {
    const journal = await open();
    await rejects(journal.append([last('end'), update('late')]), 'ERR_TOPIC_ENDED', /"t"/);
    equal(await readAll(journal), []);
    await journal.append([last('end'), reopening('again'), update('more')]);
    equal(await allEndings(journal), []);
    const refs = await journal.append([
      last('end'),
      last('end', { reopen: true }),
      reopening(''),
      last('end'),
    ]);
    equal(await placesOf(journal), [[refs[3]?.position, ['t']]]);
  });

  test('ends and goes on in the order of calls that are under way together', async ({ open }) => {
    const journal = await open();
    const outcomes = await outcomesOf([
      journal.append([update('a')]),
      journal.append([last('end')]),
      journal.append([update('other', { topics: ['u'] }), update('late')]),
      journal.append([last('end too')]),
      journal.append([reopening('again')]),
      journal.append([update('b'), last('end at last')]),
      journal.append([update('too late')]),
    ]);
    const refused = 'ERR_TOPIC_ENDED';
    equal(outcomes, ['made', 'made', refused, refused, 'made', 'made', refused]);
    equal(dataOf(await readAll(journal)), ['a', 'end', 'again', 'b', 'end at last']);
  });

  test('stays as it was when a call that would end or reopen it is refused', async ({ open }) => {
    const journal = await open();
    await journal.append([last('end'), update('', { id: 'taken', topics: ['u'] })]);
    const endings = await allEndings(journal);
    const taken = update('other', { id: 'taken', topics: ['u'] });
    const outcomes = await outcomesOf([
      journal.append([reopening('again'), last('end', { topics: ['v', 'w'] }), taken]),
      journal.append([update('late')]),
      journal.append([reopening('again'), last('end'), update('late')]),
      journal.append([update('not ended', { topics: ['v', 'w'] })]),
    ]);
    equal(outcomes, ['ERR_ID_TAKEN', 'ERR_TOPIC_ENDED', 'ERR_TOPIC_ENDED', 'made']);
    equal(await allEndings(journal), endings);
  });

  test('answers a repeat of its updates as before, which neither ends nor reopens it', async ({
    open,
  }) => {
    const journal = await open();
    const end = last('end', { id: 'end' });
    const again = reopening('again', { id: 'again' });
    const before = [update('before', { id: 'before' }), end];
    const refs = await journal.append(before);
    equal(await journal.append(before), refs);
    equal(await journal.append([end, end]), [refs[1], refs[1]]);
    await rejects(journal.append([end, update('late')]), 'ERR_TOPIC_ENDED');
    const [reopened] = await journal.append([again]);
    equal(await journal.append([end]), [refs[1]]);
    equal(await allEndings(journal), []);
    const [ended] = await journal.append([last('end')]);
    equal(await journal.append([again]), [reopened]);
    equal(await placesOf(journal), [[ended?.position, ['t']]]);
  });

  test('answers a repeat under a key as before', async ({ open }) => {
    const journal = await open();
    const refs = await journal.append([update('a'), last('end')], keyOf('k'));
    equal(await journal.append([update('a'), last('end')], keyOf('k')), refs);
    await journal.append([reopening('again')], keyOf('again'));
    equal(await journal.append([update('a'), last('end')], keyOf('k')), refs);
    equal(await allEndings(journal), []);
    await journal.append([last('end')]);
    await journal.append([reopening('again')], keyOf('again'));
    await rejects(journal.append([update('late')], keyOf('late')), 'ERR_TOPIC_ENDED');
    // What was refused is not remembered.
    await journal.append([reopening('late')]);
    await journal.append([update('late')], keyOf('late'));
  });

  test('has a last update by its content: the same id with another `last` is refused, with another `reopen` it is the same', async ({
    open,
  }) => {
    const journal = await open();
    const refs = await journal.append([update('a', { id: 'a' }), last('end', { id: 'end' })]);
    await rejects(journal.append([last('a', { id: 'a' })]), 'ERR_ID_TAKEN', /"a"/);
    await rejects(journal.append([update('end', { id: 'end' })]), 'ERR_ID_TAKEN', /"end"/);
    equal(await journal.append([update('a', { id: 'a', last: false, reopen: true })]), [refs[0]]);
    equal(await journal.append([last('end', { id: 'end', reopen: true })]), [refs[1]]);
    await rejects(journal.append([update('late')]), 'ERR_TOPIC_ENDED');
  });

  test('is one also when its last update has been trimmed', async ({ open }) => {
    const journal = await open({ maxUpdates: 2 });
    const [ref] = await journal.append([last('end', { id: 'end', publisher: 'ada' })]);
    const expected = { ...ref, topics: ['t'], private: false, publisher: 'ada' };
    for (let n = 0; n < 5; n++) {
      await journal.append([update(`${n}`, { topics: ['u'], publisher: 'ada' })]);
    }
    await untilTrimmed(journal, 2);
    await rejects(journal.append([update('late')]), 'ERR_TOPIC_ENDED', /"t"/);
    equal(await allEndings(journal), [{ ended: ['t'], update: expected }]);
    // The id is free, and the topic is not.
    await rejects(journal.append([last('end', { id: 'end' })]), 'ERR_TOPIC_ENDED');
  });
});

export const endings = group('endings', (test) => {
  test('say which update was the last, of which topics, and who may know of it', async ({
    open,
  }) => {
    const journal = await open();
    equal(await allEndings(journal), []);
    const updates = [
      last('public'),
      last('own', { id: 'own', scope: 's', topics: ['a', 'b'], type: 'e', retry: 1 }),
      last('private', { private: true, publisher: 'ada', topics: ['c'] }),
      update('no end', { topics: ['d'] }),
    ];
    const refs = await journal.append(updates);
    equal(
      inOrder(await allEndings(journal)),
      refs.slice(0, 3).map((ref, n): Ending => {
        const { topics, private: isPrivate, publisher } = updates[n] as Update;
        return { ended: topics, update: { ...ref, topics, private: isPrivate, publisher } };
      }),
    );
  });

  test('are listed in pages of at most 1,000', async ({ open }) => {
    const journal = await open();
    const topics = Array.from({ length: 2500 }, (_, n) => `${n}`);
    await journal.append(topics.map((topic) => last('', { topics: [topic] })));
    const pages: (readonly Ending[])[] = [];
    for await (const page of journal.endings()) pages.push(page);
    ok(pages.every(({ length }) => length > 0 && length <= 1000));
    equal(new Set(pages.flat().flatMap(({ ended }) => ended)), new Set(topics));
    equal(pages.flat().length, topics.length);
  });

  test('may come and go while they are listed: all others are', async ({ open }) => {
    const journal = await open();
    const name = (n: number): string => `topic ${n}`;
    const numbers = Array.from({ length: 2500 }, (_, n) => n);
    await journal.append(numbers.map((n) => last('', { topics: [name(n)] })));
    const listed = new Set<string>();
    for await (const page of journal.endings()) {
      for (const { ended } of page) for (const topic of ended) listed.add(topic);
      const odd = numbers.filter((n) => n % 2 === 1);
      await journal.append(odd.map((n) => reopening('', { topics: [name(n)] })));
      await journal.append([last('', { topics: [`new ${listed.size}`] })]);
    }
    ok(numbers.every((n) => n % 2 === 1 || listed.has(name(n))));
  });

  test('cannot be listed once the journal is closed', async ({ open }) => {
    const journal = await open();
    await journal.append([last('end')]);
    await journal.close();
    await rejects(allEndings(journal), 'ERR_JOURNAL_CLOSED');
  });

  test('are bounded: of a flood, the oldest are forgotten and the newest are not, and a topic whose ending was forgotten is one like any other', async ({
    open,
  }) => {
    const journal = await open({ maxUpdates: 100 });
    const first = update('', { topics: ['first'], publisher: 'ada' });
    await journal.append([{ ...first, last: true }]);
    await flood(journal, () => 'ada', MORE_THAN_ALL);
    const held = await allEndings(journal);
    const bytes = held.reduce((sum, ending) => sum + bytesOf(ending), 0);
    ok(bytes > 0.9 * MAX_ENDINGS_BYTES, `${bytes} bytes are few`);
    ok(bytes < MAX_ENDINGS_BYTES + FLOOD_STEP * 2 * LONG_ENDING_BYTES, `${bytes} bytes are many`);
    const newest = floodTopic('ada', MORE_THAN_ALL - 1);
    await rejects(journal.append([update('', { topics: [newest] })]), 'ERR_TOPIC_ENDED');
    await journal.append([first]);
    await journal.append([{ ...first, last: true }]);
    await rejects(journal.append([first]), 'ERR_TOPIC_ENDED');
  });

  for (const [whose, publisherOf] of [
    ['another publisher', () => 'ada'],
    ['fifty others', (n: number) => `one of fifty, ${n % 50}`],
  ] as const) {
    test(`are not pushed out by a flood of ${whose}, of publishers with a name and those without`, async ({
      open,
    }) => {
      const journal = await open({ maxUpdates: 100 });
      const ends = ['bob', undefined, 'eve'].flatMap((publisher) =>
        Array.from({ length: 20 }, (_, n) =>
          last('', { publisher, topics: [`${publisher} ${n}`] }),
        ),
      );
      await journal.append(ends);
      await flood(journal, publisherOf, MORE_THAN_ALL);
      const held = new Set((await allEndings(journal)).flatMap(({ ended }) => ended));
      ok(ends.every(({ topics }) => held.has(topics[0] as string)));
      for (const { topics, publisher } of ends) {
        const late = update('', { topics, publisher });
        await rejects(journal.append([late]), 'ERR_TOPIC_ENDED');
      }
    });
  }

  test('that are over make room', async ({ open }) => {
    const journal = await open({ maxUpdates: 100 });
    const kept = last('', { topics: ['kept'] });
    await journal.append([kept]);
    for (let n = 0; n < MORE_THAN_ALL; n += FLOOD_STEP) {
      const some = Array.from({ length: FLOOD_STEP }, (_, m) => floodTopic('', n + m));
      await journal.append(some.map((topic) => last('', { topics: [topic] })));
      await journal.append(some.map((topic) => reopening('', { topics: [topic] })));
    }
    equal(
      (await allEndings(journal)).map(({ ended }) => ended),
      [['kept']],
    );
  });
});

export const agesOfEndings = group(
  'an ending',
  (test) => {
    test('is remembered for seven days, after which its topic is one like any other', async ({
      open,
      setClock,
    }) => {
      const start = Date.now();
      setClock(start);
      const journal = await open();
      await journal.append([last('end')]);
      setClock(start + ENDING_MAX_AGE_MS - 1);
      await rejects(journal.append([update('late')]), 'ERR_TOPIC_ENDED');
      matches((await allEndings(journal))[0] ?? {}, { ended: ['t'] });
      setClock(start + ENDING_MAX_AGE_MS);
      await journal.append([update('now')]);
      equal(await allEndings(journal), []);
    });

    test('is as old as the last time that its topic ended', async ({ open, setClock }) => {
      const start = Date.now();
      setClock(start);
      const journal = await open();
      const topics = ['a', 'b'];
      await journal.append([last('end', { topics })]);
      setClock(start + ENDING_MAX_AGE_MS / 2);
      await journal.append([last('end', { topics: ['b'], reopen: true })]);
      const outcomesAt = (ms: number) => {
        setClock(start + ms);
        const calls = topics.map((topic) => journal.append([update('', { topics: [topic] })]));
        return outcomesOf(calls);
      };
      equal(await outcomesAt(ENDING_MAX_AGE_MS), ['made', 'ERR_TOPIC_ENDED']);
      const { length } = await allEndings(journal);
      equal(length, 1);
      // One that is too old may end again.
      await journal.append([last('end', { topics: ['a'] })]);
      equal(await outcomesAt(1.5 * ENDING_MAX_AGE_MS), ['ERR_TOPIC_ENDED', 'made']);
    });
  },
  ['setClock'],
);

export const endingsOfTwoWriters = group(
  'endings of two writers',
  (test) => {
    test('count for both, and so does what is reopened', async ({ open, openSecond }) => {
      const a = await open();
      const b = await openSecond(a);
      const heard = await listen(b);
      const [ref] = await a.append([last('end', { id: 'end' })]);
      await rejects(b.append([update('late')]), 'ERR_TOPIC_ENDED', /"t"/);
      equal(await b.append([last('end', { id: 'end' })]), [ref]);
      equal(await allEndings(b), await allEndings(a));
      await b.append([reopening('again')]);
      await a.append([update('more')]);
      equal(await allEndings(a), []);
      await until(() => heard.length >= 3);
      equal(heard.map(lastOf), [true, undefined, undefined]);
    });

    test('come once when both end a topic at the same time', async ({ open, openSecond }) => {
      const a = await open();
      const b = await openSecond(a);
      for (let n = 0; n < 20; n += 1) {
        const topics = [`${n}`];
        const calls = [a, b].map((each, of) => each.append([last(`${n} ${of}`, { topics })]));
        equal((await outcomesOf(calls)).sort(), ['ERR_TOPIC_ENDED', 'made']);
      }
      equal((await readAll(a)).length, 20);
      equal((await allEndings(b)).length, 20);
    });
  },
  ['openSecond'],
);

/** The last update of the topic `t`, or as said. */
function last(data: string, rest: Partial<Update> = {}): Update {
  return update(data, { last: true, ...rest });
}

function reopening(data: string, rest: Partial<Update> = {}): Update {
  return update(data, { reopen: true, ...rest });
}

const lastOf = (entry: { readonly last?: boolean | undefined }) => entry.last;

/** Where the endings stand and what has ended there, in order. */
async function placesOf(journal: Journal): Promise<unknown[]> {
  const held = inOrder(await allEndings(journal));
  return held.map(({ ended, update: { position } }) => [position, ended]);
}

function inOrder(list: readonly Ending[]): Ending[] {
  return [...list].sort((a, b) => comparePositions(a.update.position, b.update.position));
}

/** `made`, or the code of the error, of each. */
async function outcomesOf(calls: Promise<readonly EntryRef[]>[]): Promise<string[]> {
  const results = await Promise.allSettled(calls);
  return results.map((result) => (result.status === 'fulfilled' ? 'made' : result.reason.code));
}

/** So many endings come to more than a journal remembers. */
const LONG_TOPIC_BYTES = 1000;
const LONG_ENDING_BYTES = 350 + 120 + LONG_TOPIC_BYTES;
const FLOOD_STEP = 500;
const MORE_THAN_ALL =
  Math.ceil(MAX_ENDINGS_BYTES / LONG_ENDING_BYTES / FLOOD_STEP + 2) * FLOOD_STEP;

/** Ends so many topics, each with one update. */
async function flood(
  journal: Journal,
  publisherOf: (n: number) => string,
  count: number,
): Promise<void> {
  for (let n = 0; n < count; n += FLOOD_STEP) {
    const some = Array.from({ length: FLOOD_STEP }, (_, m) => {
      const publisher = publisherOf(n + m);
      return last('', { publisher, topics: [floodTopic(publisher, n + m)] });
    });
    await journal.append(some);
  }
}

function floodTopic(publisher: string, n: number): string {
  return `${publisher} ${n} `.padEnd(LONG_TOPIC_BYTES, 'x');
}

/** What an ending counts, but for its publisher: see {@link MAX_ENDINGS_BYTES}. */
function bytesOf({ update: { id, position, topics, publisher = '' } }: Ending): number {
  const texts = [...topics, publisher, ...(id === position ? [] : [id])];
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  return 350 + 120 * topics.length + bytes;
}
