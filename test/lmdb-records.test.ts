import { describe, expect, test } from '@jest/globals';
import type { Entry } from '../src/journal/journal.js';
import { RecordEncoder } from '../src/journal/lmdb/records.js';

function entriesOf(count: number, topicsOfEach: number): Entry[] {
  return Array.from({ length: count }, (_, n) => ({
    id: n === 0 ? 'own' : `1-${n + 1}`,
    position: `1-${n + 1}`,
    topics: Array.from({ length: topicsOfEach }, (_, topic) => `topic ${n} ${topic}`),
    data: 'x',
    type: undefined,
    retry: undefined,
    private: false,
    scope: undefined,
    publisher: undefined,
    transient: undefined,
  }));
}

/** How many turns of the event loop go by until the work is done. */
async function turnsOf(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  let isDone = false;
  const count = () => {
    if (isDone) return;
    turns += 1;
    setImmediate(count);
  };
  setImmediate(count);
  await work;
  isDone = true;
  return turns;
}

describe('what a commit writes', () => {
  const many = entriesOf(3_000, 100);

  test('of many topics is encoded in several turns', async () => {
    const encoder = new RecordEncoder();
    expect(await turnsOf(encoder.added(many, [1, 1], 0))).toBeGreaterThan(3);
    const removed = many.map((entry, n) => ({ key: [1, n + 1] as [number, number], entry }));
    expect(await turnsOf(encoder.removed(removed))).toBeGreaterThan(3);
  });

  test('of one update is there without a turn', async () => {
    const turns: number[] = [];
    // Code that has not run is slow, and the system may take the time of a slice away.
    for (let attempt = 0; attempt < 10; attempt += 1) {
      const encoder = new RecordEncoder();
      const added = await turnsOf(encoder.added(entriesOf(1, 1), [1, 1], 0));
      turns.push(added + (await turnsOf(encoder.removed([]))));
    }
    expect(Math.min(...turns)).toBe(0);
  });

  test('is found under its place, its topics and its own id', async () => {
    const encoder = new RecordEncoder();
    const [first, second] = await encoder.added(entriesOf(2, 2), [1, 7], 0);
    expect(first).toMatchObject({ place: [1, 7], ownId: Buffer.from('own') });
    expect(first?.topics.map(String)).toEqual(['topic 0 0', 'topic 0 1']);
    expect(second).toMatchObject({ place: [1, 8], ownId: undefined });
    expect(await encoder.removed([{ key: [1, 2], entry: undefined }])).toEqual([
      { place: [1, 2], topics: [], ownId: undefined },
    ]);
  });
});
