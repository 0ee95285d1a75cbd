import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { Journal, Update } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { openTestHub, settled, subscribe, update } from './support/hub.js';

afterEach(() => {
  jest.restoreAllMocks();
});

async function journalOf(updates: readonly Update[]): Promise<Journal> {
  const journal = openMemoryJournal({ maxUpdates: 1_000_000, maxAgeMs: 0 });
  for (let n = 0; n < updates.length; n += 1_000) await journal.append(updates.slice(n, n + 1_000));
  return journal;
}

const items = (count: number, data = (n: number) => `${n}`): Update[] =>
  Array.from({ length: count }, (_, n) => update(`item/${n}`, data(n)));

describe('the latest of each topic, where none is in memory', () => {
  test('10,000 quiet topics are looked up in batches, and read side by side', async () => {
    const journal = await journalOf(items(10_000));
    const test = await openTestHub({ journal, windowMaxBytes: 0 });
    const newest = jest.spyOn(journal, 'newest');
    let underWay = 0;
    let rounds = 0;
    const { read } = journal;
    jest.spyOn(journal, 'read').mockImplementation(async (range) => {
      // As over a network: what is asked for at the same time is answered at the same time.
      underWay += 1;
      if (underWay === 1) rounds += 1;
      await wait(1);
      underWay -= 1;
      return read.call(journal, range);
    });
    const client = await subscribe(test, 'item/{n}', { latest: true });
    await client.has(10_000);
    expect(client.data).toEqual(Array.from({ length: 10_000 }, (_, n) => `${n}`));
    // Each was a call that waited for the one before.
    expect(newest.mock.calls.length).toBeLessThan(100);
    expect(rounds).toBeLessThan(400);
  });

  test('large updates are looked up and sent few at a time', async () => {
    const large = 'x'.repeat(200_000);
    const journal = await journalOf(items(50, (n) => `${n} ${large}`));
    const test = await openTestHub({ journal, windowMaxBytes: 0 });
    const newest = jest.spyOn(journal, 'newest');
    const client = await subscribe(test, 'item/{n}', { latest: true });
    client.stream.pause();
    await wait(200);
    for (const [topics] of newest.mock.calls) expect(topics.length).toBeLessThanOrEqual(8);
    // One more than what filled its buffers.
    expect(client.stream.readableLength + client.stream.writableLength).toBeLessThan(500_000);
    client.stream.resume();
    await client.has(50);
    expect(client.data.map((data) => data.split(' ')[0])).toEqual(
      Array.from({ length: 50 }, (_, n) => `${n}`),
    );
  });

  test('newer updates that this client may not see are looked behind, of each topic by itself', async () => {
    const journal = await journalOf([
      ...items(20),
      ...Array.from({ length: 250 }, (_, n) => update('item/7', `secret ${n}`, { private: true })),
    ]);
    const test = await openTestHub({ journal, windowMaxBytes: 0 });
    const client = await subscribe(test, 'item/{n}', { latest: true });
    await client.has(20);
    await settled();
    expect(client.data).toEqual(Array.from({ length: 20 }, (_, n) => `${n}`));
  });

  test('updates that come meanwhile follow, and do not stand in for those of before', async () => {
    const journal = await journalOf(items(2_000));
    const test = await openTestHub({ journal, windowMaxBytes: 0 });
    const client = await subscribe(test, 'item/{n}', { latest: true });
    await test.hub.publish([update('item/5', 'new')]);
    await client.has(2_001);
    expect(client.data).toEqual([...Array.from({ length: 2_000 }, (_, n) => `${n}`), 'new']);
  });
});

test('the latest of topics whose update leaves the memory meanwhile is sent all the same', async () => {
  const journal = await journalOf(items(3_000));
  // Of the 400 newest or so the window has everything.
  const test = await openTestHub({ journal, windowMaxBytes: 400 * 720 });
  const live = await subscribe(test, 'item/{n}');
  for (let n = 0; n < 400; n += 1) await test.hub.publish([update(`item/${n}`, `new ${n}`)]);
  await live.has(400);
  const client = await subscribe(test, 'item/{n}', { latest: true });
  // The window turns over while the rest is looked up.
  for (let n = 0; n < 600; n += 1) {
    await test.hub.publish([update('other', `${n}`)]);
    if (n % 10 === 0) await new Promise(setImmediate);
  }
  await client.has(3_000);
  await settled();
  expect(client.data).toHaveLength(3_000);
  expect(new Set(client.data).size).toBe(3_000);
  for (let n = 0; n < 400; n += 1) expect(client.data).toContain(`new ${n}`);
});
