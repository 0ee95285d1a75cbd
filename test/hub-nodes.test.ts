import { describe, expect, jest, test } from '@jest/globals';
import { Subscription } from '../src/hub/subscription.js';
import type { EntryRef, Journal } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { type HubClient, openTestHub, settled, subscribe, update } from './support/hub.js';
import { NodeJournal } from './support/node-journal.js';

/** A hub on one node, of a journal that others append to as well. */
async function openNode(options: { maxUpdates?: number; windowMaxBytes?: number } = {}) {
  const { maxUpdates = 1_000_000, ...hubOptions } = options;
  const shared = openMemoryJournal({ maxUpdates, maxAgeMs: 0 });
  return { ...(await openNodeOf(shared, hubOptions)), shared };
}

async function openNodeOf(shared: Journal, hubOptions: { windowMaxBytes?: number } = {}) {
  const node = new NodeJournal(shared);
  return { ...(await openTestHub({ journal: node, ...hubOptions })), node };
}

const numbers = (from: number, count: number) =>
  Array.from({ length: count }, (_, n) => String(from + n));

/** Another node appends. */
async function appended(shared: Journal, from: number, count: number, topic = 'a') {
  return shared.append(numbers(from, count).map((data) => update(topic, data)));
}

const told = ({ events }: HubClient) => events.map(({ event, data }) => event ?? data);

describe('a client that comes with an id that this node has not followed yet', () => {
  test('gets what comes after it and nothing again, however late the entries come', async () => {
    const test = await openNode();
    const refs = await appended(test.shared, 0, 5);
    const client = await subscribe(test, 'a', { from: (refs[2] as EntryRef).id });
    await settled();
    expect(told(client)).toEqual([]);
    test.node.tell(2);
    await settled();
    expect(told(client)).toEqual([]);
    test.node.tell();
    await appended(test.shared, 5, 1);
    test.node.tell();
    await client.has(3);
    await settled();
    expect(told(client)).toEqual(['3', '4', '5']);
  });

  test('is told of a gap if what it misses is trimmed while it waits, though the window has it', async () => {
    const test = await openNode({ maxUpdates: 3 });
    const [first] = await appended(test.shared, 0, 2);
    const client = await subscribe(test, 'a', { from: (first as EntryRef).id });
    await settled();
    await appended(test.shared, 2, 4);
    test.node.tell();
    await client.has(4);
    expect(told(client)).toEqual(['gap', '3', '4', '5']);
  });

  test('does so too when what it has had is lost on the way to this node', async () => {
    const test = await openNode();
    const refs = await appended(test.shared, 0, 5);
    const client = await subscribe(test, 'a', { from: (refs[2] as EntryRef).id });
    await settled();
    test.node.lose();
    await client.has(2);
    await appended(test.shared, 5, 1);
    test.node.tell();
    await client.has(3);
    expect(told(client)).toEqual(['3', '4', '5']);
  });

  test('has its stream ended after five seconds if nothing comes, and gets nothing twice', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    try {
      const test = await openNode();
      const refs = await appended(test.shared, 0, 3);
      const client = await subscribe(test, 'a', { from: (refs[1] as EntryRef).id });
      await settled();
      jest.advanceTimersByTime(4_900);
      await settled();
      expect(client.stream.writableEnded).toBe(false);
      jest.advanceTimersByTime(200);
      await settled();
      expect(client.stream.writableEnded).toBe(true);
      expect(told(client)).toEqual([]);
      expect(test.log.join('\n')).toMatch(/has not followed yet/);
      test.node.tell();
      await settled();
      expect(told(client)).toEqual([]);
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  test('costs nothing once it has left', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    try {
      const test = await openNode();
      const refs = await appended(test.shared, 0, 3);
      const clients = await Promise.all(
        Array.from({ length: 1000 }, (_, n) =>
          subscribe(test, 'a', { from: (refs[n % 3] as EntryRef).id }),
        ),
      );
      await settled();
      expect(jest.getTimerCount()).toBe(1000);
      for (const client of clients) client.leave();
      await settled();
      expect(jest.getTimerCount()).toBe(0);
      expect(test.hub.statistics).toMatchObject({ subscriptions: 0, catchUps: 0 });
      test.node.tell();
      await settled();
      expect(test.log).toEqual([]);
    } finally {
      jest.useRealTimers();
    }
  });

  test('is told that its id is unknown, at once, if that is a position from the future', async () => {
    const test = await openNode();
    await test.hub.publish([update('a', '0')]);
    for (const from of [`${Date.now() + 1_000_000_000}-1`, '9999999999999999-1']) {
      const client = await subscribe(test, 'a', { from });
      await client.has(2);
      expect(told(client)).toEqual(['gap', '0']);
      expect(JSON.parse(client.events[0]?.data ?? '')).toMatchObject({ reason: 'unknown' });
    }
  });
});

describe('when the place in the journal is lost', () => {
  test('without any client, those that come afterwards get everything', async () => {
    const test = await openNode();
    const [first] = await appended(test.shared, 0, 10);
    test.node.tell(3);
    test.node.lose(4);
    test.node.tell();
    const from = (first as EntryRef).id;
    const earliest = await subscribe(test, 'a', { from: 'earliest' });
    const templated = await subscribe(test, '{x}', { from });
    await Promise.all([earliest.has(10), templated.has(9)]);
    await settled();
    expect(told(earliest)).toEqual(numbers(0, 10));
    expect(told(templated)).toEqual(numbers(1, 9));
    expect(test.log.join('\n')).toMatch(/^The place in the journal was lost/);
  });

  test.each([['a'], ['*'], ['{x}'], ['none', 'a']])(
    'live clients get what was missed, in order and once: %s',
    async (...topics) => {
      const test = await openNode();
      const client = await subscribe(test, topics);
      await appended(test.shared, 0, 10);
      test.node.tell(3);
      test.node.lose(4);
      test.node.tell();
      await client.has(10);
      await appended(test.shared, 10, 2);
      test.node.tell();
      await client.has(12);
      await settled();
      expect(told(client)).toEqual(numbers(0, 12));
    },
  );

  test('updates of new topics that were missed reach clients with templates', async () => {
    const test = await openNode();
    await appended(test.shared, 0, 1, 'item/old');
    test.node.tell();
    const client = await subscribe(test, 'item/{n}');
    await appended(test.shared, 1, 1, 'item/new');
    await appended(test.shared, 2, 1, 'item/newer');
    test.node.lose();
    await client.has(2);
    expect(told(client)).toEqual(['1', '2']);
  });

  test('a live client gets what it was sent in the same turn before what was missed', async () => {
    const test = await openNode();
    const clients = await Promise.all(['a', 'a', '*'].map((topic) => subscribe(test, topic)));
    await appended(test.shared, 0, 6);
    test.node.tell(2);
    test.node.lose(2);
    test.node.tell(1);
    test.node.lose(1);
    for (const client of clients) {
      await client.has(6);
      expect(told(client)).toEqual(numbers(0, 6));
    }
  });

  test('again and again, with nothing between, nobody misses or repeats anything', async () => {
    const test = await openNode();
    const client = await subscribe(test, 'a');
    await appended(test.shared, 0, 20);
    for (let n = 0; n < 20; n += 1) {
      if (n % 3 === 0) test.node.tell(1);
      test.node.lose(n % 4);
      test.node.lose(0);
    }
    await client.has(20);
    await settled();
    expect(told(client)).toEqual(numbers(0, 20));
  });

  test('a client is told of a gap if what was missed is trimmed', async () => {
    const test = await openNode({ maxUpdates: 5 });
    const client = await subscribe(test, 'a');
    const refs = await appended(test.shared, 0, 3);
    test.node.tell();
    await client.has(3);
    await appended(test.shared, 3, 10);
    test.node.lose();
    await client.has(9);
    expect(told(client)).toEqual([...numbers(0, 3), 'gap', ...numbers(8, 5)]);
    expect(JSON.parse(client.events[3]?.data ?? '')).toMatchObject({
      reason: 'trimmed',
      lastEventID: refs[2]?.id,
    });
  });

  test.each([0, 64 * 1024 * 1024])(
    'a client that catches up reads on from the journal (window %d)',
    async (windowMaxBytes) => {
      const test = await openNode({ windowMaxBytes });
      await appended(test.shared, 0, 5_000);
      test.node.tell();
      await appended(test.shared, 5_000, 100);
      const clients = await Promise.all(
        ['a', '*', '{x}'].map((topic) => subscribe(test, topic, { from: 'earliest' })),
      );
      await Promise.all(clients.map((client) => client.has(100)));
      test.node.lose(50);
      await Promise.all(clients.map((client) => client.has(1_000)));
      test.node.lose(25);
      test.node.tell();
      for (const client of clients) {
        await client.has(5_100);
        await settled();
        expect(told(client)).toEqual(numbers(0, 5_100));
      }
    },
  );

  test.each(['read', 'bounds'] as const)(
    'while a client waits for the journal (%s), it gets everything once',
    async (method) => {
      for (const topic of ['a', '{x}', '*']) {
        const test = await openNode({ windowMaxBytes: 3_000 });
        await appended(test.shared, 0, 20, 'a');
        test.node.tell();
        const held = test.node.hold(method);
        const client = await subscribe(test, topic, { from: 'earliest' });
        await held.called;
        await appended(test.shared, 20, 5, 'new');
        await appended(test.shared, 25, 5, 'a');
        test.node.lose(8);
        test.node.tell();
        held.release();
        const expected = numbers(0, 30).filter((n) => topic !== 'a' || !(Number(n) in NEW));
        await client.has(expected.length);
        await settled();
        expect(told(client)).toEqual(expected);
      }
    },
  );

  test('while a client with a template waits for the list of topics, it gets those of new ones', async () => {
    const test = await openNode({ windowMaxBytes: 0 });
    await appended(test.shared, 0, 5, 'item/old');
    test.node.tell();
    const held = test.node.hold('topics');
    const client = await subscribe(test, 'item/{n}', { from: 'earliest' });
    await held.called;
    await appended(test.shared, 5, 5, 'item/new');
    test.node.lose();
    held.release();
    await client.has(10);
    expect(told(client)).toEqual(numbers(0, 10));
  });

  test.each(['newest', 'bounds', 'topics'] as const)(
    'while a client waits for the latest of each topic (%s), it gets them and all that comes',
    async (method) => {
      for (const windowMaxBytes of [0, 5_000, 64 * 1024 * 1024]) {
        const test = await openNode({ windowMaxBytes });
        const live = await subscribe(test, '*');
        for (let n = 0; n < 20; n += 1) await appended(test.shared, n, 1, `item/${n % 10}`);
        test.node.tell();
        await live.has(20);
        const held = test.node.hold(method);
        const client = await subscribe(test, 'item/{n}', { latest: true });
        if (method !== 'newest' || windowMaxBytes < 10_000) await held.called;
        await appended(test.shared, 20, 3, 'item/3');
        test.node.lose(2);
        test.node.tell();
        held.release();
        await client.has(13);
        await settled();
        expect(told(client)).toEqual(numbers(10, 13));
      }
    },
  );

  test('a client that does not read gets everything when it reads again', async () => {
    const test = await openNode();
    const client = await subscribe(test, 'a');
    client.stream.pause();
    const large = 'x'.repeat(100_000);
    const append = async (data: string) => test.shared.append([update('a', data)]);
    for (let n = 0; n < 5; n += 1) await append(`${n}${large}`);
    test.node.tell(3);
    await settled();
    test.node.lose(1);
    await settled();
    test.node.tell();
    client.stream.resume();
    await client.has(5);
    expect(client.data.map((data) => data[0])).toEqual(numbers(0, 5));
  });

  test('ten thousand live clients become cursors in turns that leave room for others', async () => {
    const test = await openNode();
    const clients = await Promise.all(
      Array.from({ length: 10_000 }, (_, n) => subscribe(test, n % 2 ? 'a' : `own/${n}`)),
    );
    await appended(test.shared, 0, 3);
    test.node.tell(1);
    const fallBehind = jest.spyOn(Subscription.prototype, 'fallBehind');
    test.node.lose(1);
    test.node.tell();
    for (let turns = 0; turns < 2; turns += 1) await new Promise(setImmediate);
    // In one go it takes a tenth of a second, in which nothing else happens.
    expect(fallBehind.mock.calls.length).toBeLessThan(5_000);
    await Promise.all(clients.filter((_, n) => n % 2).map((client) => client.has(3)));
    expect(fallBehind).toHaveBeenCalledTimes(10_000);
    fallBehind.mockRestore();
    expect(clients.every((client, n) => client.data.length === (n % 2 ? 3 : 0))).toBe(true);
  });
});

/** The data of updates of another topic. */
const NEW = { 20: true, 21: true, 22: true, 23: true, 24: true };

test('an update that a journal tells again is delivered once', async () => {
  const test = await openNode();
  const client = await subscribe(test, 'a');
  await appended(test.shared, 0, 3);
  test.node.tell();
  test.node.tellAgain(2);
  await appended(test.shared, 3, 1);
  test.node.tell();
  await client.has(4);
  await settled();
  expect(told(client)).toEqual(numbers(0, 4));
});

test('what comes while a hub opens is delivered, after what was there before', async () => {
  const shared = openMemoryJournal({ maxUpdates: 100, maxAgeMs: 0 });
  await appended(shared, 0, 2);
  const node = new NodeJournal(shared);
  const opening = openTestHub({ journal: node });
  const appending = appended(shared, 2, 2);
  const opened = await opening;
  await appending;
  node.tell();
  const client = await subscribe(opened, 'a', { from: 'earliest' });
  await client.has(4);
  expect(told(client)).toEqual(numbers(0, 4));
});
