import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { Journal, Update } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { Selection } from '../src/topics/selection.js';
import { openTestHub, settled, subscribe, update } from './support/hub.js';

/** A template that matches no topic here, and is not told so by how a topic starts or ends. */
const COSTLY = '{+a,b,c,d,e,f,g}x{/h*}{?i,j,k}y';

async function journalOf(topics: number, data = 'x'): Promise<Journal> {
  const journal = openMemoryJournal({ maxUpdates: 1_000_000, maxAgeMs: 0 });
  for (let n = 0; n < topics; n += 1_000) {
    await journal.append(
      Array.from({ length: 1_000 }, (_, m) => update(`https://example.com/items/${n + m}`, data)),
    );
  }
  return journal;
}

/** Resolves when a number has stopped changing for some turns of the event loop. */
async function still(read: () => number): Promise<void> {
  for (let turns = 0, last = -1; turns < 20; turns += 1) {
    const now = read();
    if (now !== last) turns = 0;
    last = now;
    await new Promise(setImmediate);
  }
}

afterEach(() => {
  jest.restoreAllMocks();
});

describe('the work for a client', () => {
  const cases = [
    { name: 'a replay by templates', options: { from: 'earliest' } },
    { name: 'the latest of all topics', options: { latest: true } },
  ];

  test.each(cases)('$name ends when the client has left', async ({ options }) => {
    const test = await openTestHub({ journal: await journalOf(50_000), windowMaxBytes: 0 });
    const lookedAt = jest.spyOn(Selection.prototype, 'asksForTopic');
    const client = await subscribe(test, COSTLY, options);
    while (lookedAt.mock.calls.length < 100) await new Promise(setImmediate);
    client.leave();
    await once(client.stream, 'close');
    await still(() => lookedAt.mock.calls.length);
    expect(lookedAt.mock.calls.length).toBeLessThan(40_000);
    expect(test.hub.statistics).toMatchObject({ subscriptions: 0, catchUps: 0 });
  });

  test.each(cases)('$name: three hundred at once delay nobody for long', async ({ options }) => {
    const test = await openTestHub({ journal: await journalOf(20_000), windowMaxBytes: 0 });
    const clients = [];
    for (let n = 0; n < 300; n += 1) {
      clients.push(await subscribe(test, `${COSTLY}${n}`, options));
    }
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    for (let turns = 0; turns < 50; turns += 1) await new Promise(setImmediate);
    delay.disable();
    // A slice of 10 ms for each of them in one turn would be three seconds.
    expect(delay.max / 1e6).toBeLessThan(1_500);
    for (const client of clients) client.leave();
    await settled();
  });

  test.each([
    { what: 'of all topics', topic: '*', options: { from: 'earliest' } },
    { what: 'by costly templates', topic: COSTLY, options: { from: 'earliest' } },
    { what: 'of the latest of all', topic: '*', options: { latest: true } },
  ])('a short replay is not kept waiting by long ones $what', async ({ topic, options }) => {
    const test = await openTestHub({ journal: await journalOf(50_000), windowMaxBytes: 0 });
    const long = [];
    for (let n = 0; n < 50; n += 1) {
      long.push(await subscribe(test, topic === '*' ? '*' : `${topic}${n}`, options));
    }
    const short = await subscribe(test, 'https://example.com/items/7', { from: 'earliest' });
    await short.has(1);
    expect(test.hub.statistics.catchUps).toBeGreaterThan(25);
    for (const client of long) client.leave();
  });
});

describe('what many clients want at once', () => {
  test('the list of topics is read once for all that read at the same time', async () => {
    const journal = await journalOf(5_000);
    const test = await openTestHub({ journal, windowMaxBytes: 0 });
    const topics = jest.spyOn(journal, 'topics');
    const clients = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        subscribe(test, `https://example.com/items/${n}{?q}`, { from: 'earliest' }),
      ),
    );
    await Promise.all(clients.map((client) => client.has(1)));
    // Eight are read for at a time: on a busy machine these may be done before the next begin. Else it is read 30 times.
    expect(topics.mock.calls.length).toBeLessThanOrEqual(4);
  });

  test('the journal is read and encoded once', async () => {
    const journal = await journalOf(10_000);
    const test = await openTestHub({ journal, windowMaxBytes: 0 });
    const read = jest.spyOn(journal, 'read');
    const one = await subscribe(test, '*', { from: 'earliest' });
    await one.has(10_000);
    const forOne = read.mock.calls.length;
    read.mockClear();
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => subscribe(test, '*', { from: 'earliest' })),
    );
    await Promise.all(clients.map((client) => client.has(10_000)));
    for (const { data } of clients) expect(data).toHaveLength(10_000);
    expect(read.mock.calls.length).toBeLessThan(4 * forOne);
  });
});

describe('an update that no frame can carry', () => {
  const broken: Update = { topics: ['a'], data: '2', type: 'a\nb', private: false };

  test.each([0, 64 * 1024 * 1024])(
    'is left out and told of, live and in replay, and all others arrive (window %d)',
    async (windowMaxBytes) => {
      const test = await openTestHub({ windowMaxBytes });
      const live = await subscribe(test, 'a');
      await test.journal.append([update('a', '1')]);
      await test.journal.append([broken, update('a', '3')]);
      await test.journal.append([broken]);
      await test.journal.append([update('a', '4')]);
      await live.has(3); // What is not delivered yet would come after the newest.
      const replayed = await subscribe(test, 'a', { from: 'earliest' });
      const latest = await subscribe(test, 'a', { latest: true });
      await Promise.all([live.has(3), replayed.has(3), latest.has(1)]);
      await settled();
      expect(live.data).toEqual(['1', '3', '4']);
      expect(replayed.data).toEqual(['1', '3', '4']);
      expect(latest.data).toEqual(['4']);
      expect(test.hub.statistics.skipped).toBeGreaterThanOrEqual(2);
      expect(test.log.join('\n')).toMatch(/cannot be sent and is left out/);
    },
  );

  test('a hub opens over a journal whose newest one it is, and goes on', async () => {
    const journal = openMemoryJournal({ maxUpdates: 100, maxAgeMs: 0 });
    await journal.append([update('a', '1'), broken]);
    const test = await openTestHub({ journal });
    const client = await subscribe(test, 'a', { from: 'earliest' });
    await test.hub.publish([update('a', '2')]);
    await client.has(2);
    expect(client.data).toEqual(['1', '2']);
  });
});

test('a client that comes back while its last update is still to be delivered gets no update twice', async () => {
  const test = await openTestHub();
  // More than one slice of delivery.
  const refs = await test.hub.publish(
    Array.from({ length: 50_000 }, (_, n) => update(`t/${n}`, String(n))),
  );
  const from = refs.at(-1)?.id as string;
  const client = await subscribe(test, '*', { from });
  await test.hub.publish([update('t', 'new')]);
  await client.has(1);
  await settled();
  expect(client.data).toEqual(['new']);
});

test('the latest of a topic is found behind private updates that a token does not cover, in turns', async () => {
  const test = await openTestHub();
  const watcher = await subscribe(test, 'big', { grants: ['big'] });
  await test.hub.publish([update(['big', 'mine'], 'public')]);
  const grants = [...Array.from({ length: 60 }, (_, n) => `other/${n}/{x}`), 'mine'];
  for (let n = 0; n < 9_000; n += 1_000) {
    await test.hub.publish(
      Array.from({ length: 1_000 }, (_, m) =>
        update(m % 50 === 0 && n === 0 ? ['big', 'mine'] : 'big', String(n + m), { private: true }),
      ),
    );
  }
  await watcher.has(9_001);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const client = await subscribe(test, ['big', 'mine'], { grants, latest: true });
  await client.has(1);
  await test.hub.publish([update('mine', 'live')]);
  await client.has(2);
  delay.disable();
  expect(client.data).toEqual(['950', 'live']);
  // It was eight seconds.
  expect(delay.max / 1e6).toBeLessThan(2_000);
});
