import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Selection, select } from '../src/topics/selection.js';
import { SelectionIndex, type Selective } from '../src/topics/selection-index.js';
import { compileSelector, type Selector } from '../src/topics/selector.js';

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
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed;
}
