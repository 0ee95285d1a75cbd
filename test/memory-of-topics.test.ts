import { describe, expect, test } from '@jest/globals';
import { Window } from '../src/hub/window.js';
import type { Update } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { bytesInUse } from './support/heap.js';

const MAX_BYTES = 20_000_000;

/** From many small updates to few that have many topics: how many there are and how many topics each has. */
const SHAPES = [
  [100_000, 1],
  [20_000, 10],
  [2_000, 99],
] as const;

describe.each(SHAPES)('%d updates with %d new topics each', (updates, topics) => {
  test('take no more than 1.6 times the bytes that a journal in memory may keep', async () => {
    const before = bytesInUse();
    const journal = openMemoryJournal({ maxUpdates: 1e6, maxAgeMs: 0, maxBytes: MAX_BYTES });
    for (let n = 0; n < updates; n++) await journal.append([updateOf(n, topics)]);
    expect(bytesInUse() - before).toBeLessThan(1.6 * MAX_BYTES);
    await journal.close();
  });

  test('take no more than 1.6 times the bytes that the window may hold', () => {
    const before = bytesInUse();
    const window = new Window(MAX_BYTES);
    for (let n = 0; n < updates; n++) {
      const position = `1795196765777-${n + 1}`;
      window.add(
        { ...updateOf(n, topics), id: position, position },
        Buffer.from(`id: ${position}\ndata: x\n\n`),
      );
    }
    expect(bytesInUse() - before).toBeLessThan(1.6 * MAX_BYTES);
    expect(window.head.ordinal).toBe(updates);
  });
});

function updateOf(n: number, topics: number): Update {
  const names = Array.from({ length: topics }, (_, index) => `topic ${n}/${index}`);
  // As a request has it: texts of its own.
  return JSON.parse(JSON.stringify({ topics: names, data: 'x', private: false }));
}
