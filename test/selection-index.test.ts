import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { select } from '../src/topics/selection.js';
import { SelectionIndex, type Selective } from '../src/topics/selection-index.js';

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
});
