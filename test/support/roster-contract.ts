import { afterEach, describe, expect, test } from '@jest/globals';
import type { Roster, RosterEntry, Subscriber } from '../../src/journal/roster.js';

/** What every roster does, however many share it. */
export function rosterContract(name: string, open: () => Promise<Roster>): void {
  describe(`the roster ${name}`, () => {
    let roster: Roster;
    afterEach(() => roster.close());

    test('lists a subscriber from when it is noted, once for each of its selectors', async () => {
      roster = await open();
      expect(await all(roster)).toEqual([]);
      await roster.note([subscriber('one', ['a', 'b']), subscriber('two', ['b'])], []);
      expect(await all(roster)).toEqual([entry('a', 'one'), entry('b', 'one'), entry('b', 'two')]);
    });

    test('lists no subscriber that has ended, and goes on listing the others', async () => {
      roster = await open();
      const [one, two, three] = ['one', 'two', 'three'].map((name) => subscriber(name, ['a', 'b']));
      if (!one || !two || !three) throw new Error();
      await roster.note([one, two], []);
      await roster.note([three], [one]);
      expect(await all(roster, 'a')).toEqual([entry('a', 'three'), entry('a', 'two')]);
      await roster.note([], [two, three]);
      expect(await all(roster)).toEqual([]);
    });

    test('lists those to a selector, and none to one that looks like it', async () => {
      roster = await open();
      const selectors = [
        'a',
        'a/',
        'a/b',
        'a%2Fb',
        'A',
        'a*',
        '*',
        'a0',
        'ä/😀',
        '{/a}',
        '[a',
        '(a',
        ' ',
      ];
      await roster.note([subscriber('one', selectors)], []);
      for (const selector of selectors) {
        expect(await all(roster, selector)).toEqual([entry(selector, 'one')]);
      }
      for (const selector of ['', 'b', 'a/c', '-', '+']) {
        expect(await all(roster, selector)).toEqual([]);
      }
    });

    test('keeps a payload as it was, and tells none from null', async () => {
      roster = await open();
      const payloads = [
        { user: { names: ['ä', '😀', '"'] }, age: 7.5 },
        null,
        0,
        '',
        [],
        undefined,
      ];
      const subscribers = payloads.map((payload, n) => subscriber(`${n}`, ['a', 'b'], payload));
      await roster.note(subscribers, []);
      for (const [n, payload] of payloads.entries()) {
        for (const selector of ['a', 'b']) {
          expect((await roster.get(selector, `${n}`))?.payload).toEqual(payload);
        }
      }
      expect((await all(roster, 'a')).map(({ payload }) => payload)).toEqual(payloads);
    });

    test('finds one subscription, and nothing where there is none', async () => {
      roster = await open();
      await roster.note([subscriber('urn:uuid:1', ['a', 'b'])], []);
      expect(await roster.get('b', 'urn:uuid:1')).toEqual(entry('b', 'urn:uuid:1'));
      for (const [selector, name] of [
        ['c', 'urn:uuid:1'],
        ['a', 'urn:uuid:2'],
        ['a', ''],
        ['', ''],
        ['a', 'x/../urn:uuid:1'],
        ['a', 'urn:uuid:1\0'],
        ['a', '*'],
      ]) {
        expect(await roster.get(selector as string, name as string)).toBeUndefined();
      }
    });

    test('lists thousands in pages of at most 1,000, each subscription once', async () => {
      roster = await open();
      const names = Array.from({ length: 2_500 }, (_, n) => `urn:uuid:${10_000 + n}`);
      for (let n = 0; n < names.length; n += 500) {
        await roster.note(
          names.slice(n, n + 500).map((name) => subscriber(name, ['a', 'b'])),
          [],
        );
      }
      const listed: string[] = [];
      for await (const page of roster.list()) {
        expect(page.length).toBeLessThanOrEqual(1_000);
        listed.push(...page.map(({ selector, subscriber }) => `${selector} ${subscriber}`));
      }
      const expected = names.flatMap((name) => [`a ${name}`, `b ${name}`]);
      expect(listed.sort()).toEqual(expected.sort());
      expect((await all(roster, 'b')).map(({ subscriber }) => subscriber)).toEqual(names);
    });

    test('says of each change that it was noted', async () => {
      roster = await open();
      expect(await roster.note([subscriber('one', ['a'])], [])).toMatchObject({ noted: true });
      roster.settle();
      expect(await roster.note([], [subscriber('one', ['a'])])).toMatchObject({ noted: true });
    });
  });
}

export function subscriber(name: string, selectors: string[], payload?: unknown): Subscriber {
  return { name, selectors, payload };
}

export function entry(selector: string, name: string): RosterEntry {
  return { selector, subscriber: name, payload: undefined };
}

/** All that is listed, in an order of its own. */
export async function all(roster: Roster, selector?: string): Promise<RosterEntry[]> {
  const entries: RosterEntry[] = [];
  for await (const page of roster.list(selector)) entries.push(...page);
  const key = ({ selector, subscriber }: RosterEntry) => `${selector}\0${subscriber}`;
  return entries.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
