import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Group, GroupIndex } from '../src/hub/group-index.js';
import { select } from '../src/hub/selection.js';
import { Audience } from '../src/index.js';

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

function groupOf(selectors: readonly string[], grants: readonly string[]): Group {
  const selection = select(selectors, grants);
  return { selection, audience: new Audience(), sent: undefined, unwritten: undefined };
}

describe('the groups of an update', () => {
  test('are those whose selection admits it, whichever groups have come and gone', () => {
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
        const index = new GroupIndex();
        const present: Group[] = [];
        for (const { selectors, grants, leaves, topics, isPrivate } of steps) {
          const group = groupOf(selectors, grants);
          index.add(group);
          present.push(group);
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
});
