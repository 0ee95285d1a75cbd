import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Selective } from '../src/topics/members.js';
import { Selection, select } from '../src/topics/selection.js';
import { SelectionIndex } from '../src/topics/selection-index.js';
import { compileSelector, type Selector } from '../src/topics/selector.js';
import { collectGarbage } from './support/heap.js';

/** Selectors of every kind that overlap much: equal, alike at the start, with text beyond ASCII, or all. */
const SELECTORS = [
  '*',
  'a',
  'a/1',
  'é/1',
  '{x}',
  'a{/x}',
  'a/{x}',
  'a/{x}/{y}',
  'a/{x}/1',
  'b/{x}',
  'é/{x}',
  '%C3%A9/{x}',
  'é{/x}',
  'a/{not a template',
];
const TOPICS = [
  'a',
  'b',
  'a/1',
  'a/2',
  'a/1/1',
  'b/1',
  'é/1',
  '%C3%A9/1',
  'a/{x}',
  'a/{not a template',
];

describe('the members of an index that an update is for', () => {
  test('are those whose selection admits it, whichever have come and gone', () => {
    const some = (texts: readonly string[]) =>
      fc.uniqueArray(fc.constantFrom(...texts), { maxLength: 3 });
    const step = fc.record({
      selectors: some(SELECTORS).filter(({ length }) => length > 0),
      grants: some(SELECTORS),
      leaves: fc.nat(),
      topics: some(TOPICS).filter(({ length }) => length > 0),
      isPrivate: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const index = new SelectionIndex<Selective>();
        const present: Selective[] = [];
        for (const { selectors, grants, leaves, topics, isPrivate } of steps) {
          const member = { selection: select(selectors, grants) };
          index.add(member);
          present.push(member);
          if (leaves % 3 === 0) {
            for (const gone of present.splice(leaves % present.length, 1)) index.delete(gone);
          }
          const update = { topics, private: isPrivate };
          const admitted = present.filter(({ selection }) => selection.admits(update));
          expect(new Set(index.matching(update))).toEqual(new Set(admitted));
        }
      }),
      { numRuns: 500 },
    );
  });

  test('are those of the moment when they are returned, if it took several slices', () => {
    const some = (texts: readonly string[]) =>
      fc.uniqueArray(fc.constantFrom(...texts), { maxLength: 4 });
    const member = fc.record({
      selectors: some(SELECTORS).filter(({ length }) => length > 0),
      grants: some(SELECTORS),
    });
    const between = fc.record({ leaves: fc.option(fc.nat()), comes: fc.option(member) });
    const update = fc.record({
      topics: some(TOPICS).filter(({ length }) => length > 0),
      private: fc.boolean(),
    });
    let resumed = 0;
    fc.assert(
      fc.property(
        fc.array(member, { maxLength: 12 }),
        fc.array(update, { minLength: 1, maxLength: 3 }),
        fc.array(between, { maxLength: 30 }),
        (members, updates, changes) => {
          const index = new SelectionIndex<Selective>();
          const present: Selective[] = [];
          const come = ({ selectors, grants }: { selectors: string[]; grants: string[] }) => {
            // Its cost lets the index look at its slice after every test.
            const costly = (text: string) => ({ ...compileSelector(text), cost: 1e6 });
            const arrived = { selection: new Selection(selectors.map(costly), grants.map(costly)) };
            index.add(arrived);
            present.push(arrived);
          };
          members.forEach(come);
          let open = updates;
          for (let call = 0; open.length > 0; call++) {
            // They take turns, as they need not.
            const current = open[call % open.length] as (typeof updates)[number];
            const found = index.matching(current, { isOver: true });
            if (found === undefined) resumed += 1;
            else {
              const admitted = present.filter(({ selection }) => selection.admits(current));
              expect(new Set(found)).toEqual(new Set(admitted));
              open = open.filter((each) => each !== current);
            }
            const { leaves, comes } = changes[call] ?? {};
            if (leaves != null && present.length > 0) {
              for (const gone of present.splice(leaves % present.length, 1)) index.delete(gone);
            }
            if (comes != null) come(comes);
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(resumed).toBeGreaterThan(300);
  });
});

describe('members that come and go while a search goes on', () => {
  const OVER = { isOver: true };
  const update = { topics: ['a', 'b/1'], private: false };

  /** An index whose first slice ends among so many members. */
  function indexOfMany() {
    const index = new SelectionIndex<Selective>();
    const members = Array.from({ length: 20_000 }, (_, n) => ({
      selection: select(['a', `other/${n}`]),
    }));
    for (const each of members) index.add(each);
    expect(index.matching(update, OVER)).toBeUndefined();
    return { index, members };
  }

  function finish(index: SelectionIndex<Selective>): Set<Selective> {
    let found: Iterable<Selective> | undefined;
    while (found === undefined) found = index.matching(update, OVER);
    return new Set(found);
  }

  test('are found if they are there at its end, by any kind of selector, and not if they have left', () => {
    const { index, members } = indexOfMany();
    const [first, second] = members as [Selective, Selective];
    const last = members.at(-1) as Selective;
    for (const gone of [first, second, last]) index.delete(gone);
    index.add(second);
    const arrived = [['*'], ['a'], ['b/{x}'], ['c', 'd/{x}']].map((texts) => ({
      selection: select(texts),
    }));
    for (const each of arrived) index.add(each);
    const found = finish(index);
    expect(found.size).toBe(members.length - 2 + 3);
    expect([first, last, ...arrived.slice(3)].filter((each) => found.has(each))).toEqual([]);
    expect([second, ...arrived.slice(0, 3)].filter((each) => found.has(each))).toHaveLength(4);
  });
});

describe('templates of strangers', () => {
  /** Counts how often selectors are tried on topics. */
  function counting(matches: (topic: string) => boolean = () => false) {
    const counter = { tests: 0 };
    const selector = (text: string): Selector => ({
      ...(text.length < 1_000 ? compileSelector(text) : compileSelector('{x}')),
      text,
      matches: (topic) => {
        counter.tests += 1;
        return matches(topic);
      },
    });
    const member = (texts: string[], grants: string[] = []): Selective => ({
      selection: new Selection(texts.map(selector), grants.map(selector)),
    });
    return { counter, member };
  }

  const publicUpdate = (topic: string) => ({ topics: [topic], private: false });
  const OVER = { isOver: true };

  test('that come and go are tried on a known topic once, and those that stay not again', () => {
    const { counter, member } = counting();
    const index = new SelectionIndex<Selective>();
    for (let n = 0; n < 100; n++) index.add(member([`{a}${n}`]));
    index.matching(publicUpdate('known'));
    expect(counter.tests).toBe(100);
    for (let n = 0; n < 50; n++) {
      const passing = member([`{b}${n}`]);
      index.add(passing);
      index.matching(publicUpdate('known'));
      index.delete(passing);
      index.matching(publicUpdate('known'));
    }
    expect(counter.tests).toBe(150);
  });

  test('are not tried on topics that start in another way', () => {
    const { counter, member } = counting();
    const index = new SelectionIndex<Selective>();
    for (let n = 0; n < 100; n++) index.add(member([`https://example.com/${n}/{id}`]));
    index.matching(publicUpdate('https://example.com/42/1'));
    expect(counter.tests).toBe(1);
  });

  test('let everybody else have a turn after a bounded number of tests', () => {
    const { counter, member } = counting();
    const index = new SelectionIndex<Selective>();
    const list = Array.from({ length: 19 }, (_, n) => `v${n}`);
    for (let n = 0; n < 1_000; n++) index.add(member([`{+${list},${n}}`]));
    const update = publicUpdate('a'.repeat(1_024));
    let calls = 1;
    while (index.matching(update, OVER) === undefined) {
      expect(counter.tests).toBeLessThanOrEqual(calls * 20);
      calls += 1;
    }
    expect(counter.tests).toBe(1_000);
    expect(calls).toBeGreaterThan(50);
  });

  test('as grants, too, let everybody else have a turn', () => {
    const { counter, member } = counting();
    const index = new SelectionIndex<Selective>();
    const list = Array.from({ length: 19 }, (_, n) => `v${n}`);
    for (let n = 0; n < 1_000; n++) index.add(member(['*'], [`{+${list},${n}}`]));
    const update = { topics: ['a'.repeat(1_024), 'b'.repeat(1_024)], private: true };
    let calls = 1;
    for (; index.matching(update, OVER) === undefined; calls++) {
      expect(counter.tests).toBeLessThanOrEqual(calls * 20);
    }
    expect(counter.tests).toBe(2_000);
    expect(calls).toBeGreaterThan(50);
  });

  test('are not tried once all who ask for them are found, whatever else the update is for', () => {
    const { counter, member } = counting(() => true);
    const index = new SelectionIndex<Selective>();
    const members = Array.from({ length: 100 }, (_, n) =>
      member(Array.from({ length: 20 }, (_, k) => `{+v${n}_${k}}`)),
    );
    for (const each of members) index.add(each);
    const topics = Array.from({ length: 100 }, (_, n) => `multi/${n}`);
    expect(new Set(index.matching({ topics, private: false }))).toEqual(new Set(members));
    expect(counter.tests).toBe(100);
  });

  test('that were not tried for one update are tried for the next that needs them', () => {
    const index = new SelectionIndex<Selective>();
    const member = { selection: select(['a/{x}', 'b/{x}', 'c/{x}']) };
    index.add(member);
    for (let round = 0; round < 2; round++) {
      for (const topics of [['a/1', 'b/1', 'c/1'], ['b/1'], ['c/1', 'd'], ['b/1', 'a/1']]) {
        expect([...index.matching({ topics, private: false })]).toEqual([member]);
      }
      expect([...index.matching({ topics: ['d'], private: false })]).toEqual([]);
    }
  });

  test('are tried on each topic of an update once, though it takes many slices', () => {
    const { counter, member } = counting();
    const index = new SelectionIndex<Selective>();
    for (let n = 0; n < 1_000; n++) index.add(member([`{+v${n}}`]));
    const update = { topics: Array.from({ length: 100 }, (_, n) => `t/${n}`), private: false };
    let calls = 1;
    for (; index.matching(update, OVER) === undefined; calls++) {
      expect(counter.tests).toBeLessThanOrEqual(calls * 200);
    }
    expect(counter.tests).toBe(100_000);
    expect(calls).toBeGreaterThan(500);
    // Each is known now: there is nothing left to try.
    expect([...index.matching({ ...update })]).toEqual([]);
    expect(counter.tests).toBe(100_000);
  });

  test('are not tried for private updates, unless their client may see some', () => {
    const { counter, member } = counting();
    const index = new SelectionIndex<Selective>();
    for (let n = 0; n < 100; n++) index.add(member([`{a}${n}`]));
    const granted = { selection: select(['{x}'], ['secret']) };
    index.add(granted);
    const secret = { topics: ['secret'], private: true };
    expect([...index.matching(secret)]).toEqual([granted]);
    expect(counter.tests).toBe(0);
    index.matching({ topics: ['secret'], private: false });
    expect(counter.tests).toBe(100);
  });

  test('that come while a search goes on are tried once, however many ask for them', () => {
    const { counter, member } = counting();
    const index = new SelectionIndex<Selective>();
    for (let n = 0; n < 1_000; n++) index.add(member([`{+v${n}}`]));
    const update = { topics: Array.from({ length: 100 }, (_, n) => `t/${n}`), private: false };
    expect(index.matching(update, OVER)).toBeUndefined();
    for (let n = 0; n < 1_000; n++) index.add(member(['{+new}', '{+newer}', `exact ${n}`]));
    while (index.matching(update, OVER) === undefined);
    // A text that is no template counts, too. The two templates are tried on the topics that were still to come as well.
    expect(counter.tests).toBeLessThanOrEqual((1_000 + 2 * 2 + 1_000) * 100);
  });

  test('that match everything do not make one step of the work long', () => {
    const { member } = counting(() => true);
    const index = new SelectionIndex<Selective>();
    for (let n = 0; n < 20_000; n++) index.add(member([`{+v${n}}`, `exact/${n % 2}`]));
    const topics = Array.from({ length: 100 }, (_, n) => `exact/${n}`);
    const update = { topics, private: false };
    let longest = 0;
    let found: Iterable<Selective> | undefined;
    while (found === undefined) {
      const begun = performance.now();
      found = index.matching(update, OVER);
      longest = Math.max(longest, performance.now() - begun);
    }
    expect(found).toHaveProperty('size', 20_000);
    // Some 0.2 ms are usual. In one go it takes more than a second.
    expect(longest).toBeLessThan(100);
  });

  test('that match every topic take bounded memory, however many topics there are', () => {
    const { member } = counting(() => true);
    const index = new SelectionIndex<Selective>();
    for (let n = 0; n < 1_000; n++) index.add(member([`{a}${n}`]));
    const before = heapUsed();
    for (let n = 0; n < 5_000; n++) index.matching(publicUpdate(`topic/${n}`));
    // Each match is a reference of 8 bytes: 40 MB and more, if all were kept.
    expect(heapUsed() - before).toBeLessThan(20e6);
    expect(index.matching(publicUpdate('topic/0'))).toHaveProperty('size', 1_000);
  });

  test('that have left are not kept by the topics which they matched', () => {
    const { member } = counting(() => true);
    const index = new SelectionIndex<Selective>();
    const before = heapUsed();
    for (let n = 0; n < 200; n++) {
      const passing = Array.from({ length: 100 }, (_, k) =>
        member([`{a}${n}-${k}${'x'.repeat(1_000)}`]),
      );
      for (const each of passing) index.add(each);
      index.matching(publicUpdate(`topic/${n}`));
      for (const each of passing) index.delete(each);
    }
    // There were 20,000 templates of 1,000 bytes.
    expect(heapUsed() - before).toBeLessThan(10e6);
  });

  test('are not tried on every topic of a replay', () => {
    const { counter, member } = counting();
    const { selection } = member(
      Array.from({ length: 100 }, (_, n) => `https://example.com/${n}/{id}`),
    );
    for (let n = 0; n < 1_000; n++) selection.asksForTopic(`https://example.com/${n}/1`);
    expect(counter.tests).toBe(100);
  });
});

function heapUsed(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}
