import { EventEmitter } from 'node:events';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { KnownEndings } from '../src/hub/known-endings.js';
import { MAX_TOPICS_PER_UPDATE } from '../src/hub/update.js';
import {
  comparePositions,
  type EntryRef,
  type Journal,
  type Update,
} from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { openTestHub, selection, settled, subscribe, type TestHub, update } from './support/hub.js';
import { NodeJournal } from './support/node-journal.js';

const LAST = { last: true };

afterEach(() => {
  jest.restoreAllMocks();
  jest.useRealTimers();
});

/** Whether a client that comes back with this id is told that nothing more will come. */
async function isOver(
  { hub }: Pick<TestHub, 'hub'>,
  topics: string | string[],
  id: string | undefined,
  grants: string[] = [],
): Promise<boolean> {
  const wanted = selection(topics, grants);
  return hub.isOver(wanted, await hub.locate(id ?? '', wanted));
}

/** Publishes, and waits until that is delivered. */
async function publish({ hub }: TestHub, updates: readonly Update[]): Promise<readonly EntryRef[]> {
  const refs = await hub.publish(updates);
  await hub.delivered(refs);
  return refs;
}

/** A node of several over a journal. */
async function openNodeOf(shared: Journal) {
  const node = new NodeJournal(shared);
  return { ...(await openTestHub({ journal: node })), node, shared };
}

function openShared(maxUpdates = 1_000_000): Journal {
  return openMemoryJournal({ maxUpdates, maxAgeMs: 0 });
}

describe('a live stream', () => {
  test('ends after the last update of its topic', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, 'a');
    const refs = await test.hub.publish([update('a', '1'), update('a', '2', LAST)]);
    await client.ended;
    expect(client.data).toEqual(['1', '2']);
    expect(client.lastEventId).toBe(refs[1]?.id);
    expect(await isOver(test, 'a', client.lastEventId)).toBe(true);
    expect(test.hub.statistics.subscriptions).toBe(0);
  });

  test('ends when the last of its topics has ended, whichever is last', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, ['a', 'b', 'c']);
    await test.hub.publish([update('b', '1', LAST), update(['c', 'x'], '2', LAST)]);
    await client.has(2);
    await test.hub.publish([update('a', '3')]);
    await client.has(3);
    expect(client.stream.writable).toBe(true);
    await test.hub.publish([update('a', '4', LAST)]);
    await client.ended;
    expect(client.data).toEqual(['1', '2', '3', '4']);
  });

  test.each([['*'], ['{x}'], ['a', '{x}'], ['a', '*'], ['a', 'other']])(
    'does not end as long as more may come: %s',
    async (...topics) => {
      const test = await openTestHub();
      const client = await subscribe(test, topics);
      const [end] = await test.hub.publish([update('a', '1', LAST)]);
      await client.has(1);
      await settled();
      expect(client.stream.writable).toBe(true);
      expect(await isOver(test, topics, end?.id)).toBe(false);
      const later = await subscribe(test, topics, { from: (end as EntryRef).id });
      await settled();
      expect(later.stream.writable).toBe(true);
    },
  );

  test('goes on when a topic was reopened in between, in one call too', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, ['a', 'b']);
    await test.hub.publish([
      update('a', '1', LAST),
      update('a', '2', { reopen: true }),
      update('b', '3', LAST),
    ]);
    await client.has(3);
    await settled();
    expect(client.stream.writable).toBe(true);
    await test.hub.publish([update('a', '4', LAST)]);
    await client.ended;
    expect(client.data).toEqual(['1', '2', '3', '4']);
  });

  test('ends also if the last update is one that cannot be sent', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, 'a');
    await test.journal.append([update('a', '1'), update('a', '2', { type: 'a\nb', ...LAST })]);
    await client.ended;
    expect(client.data).toEqual(['1']);
    const again = await subscribe(test, 'a', { from: client.lastEventId as string });
    await again.ended;
    expect(await isOver(test, 'a', again.lastEventId)).toBe(true);
  });

  test('of a client that does not read ends when the client has read all', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, 'a');
    client.stream.pause();
    const data = 'x'.repeat(100_000);
    for (let n = 0; n < 5; n += 1) {
      await test.hub.publish([update('a', data)]);
      await settled();
    }
    await test.hub.publish([update('a', 'the end', LAST)]);
    while (test.hub.statistics.slow === 0) await settled();
    expect(test.hub.statistics).toMatchObject({ slow: 1, subscriptions: 1 });
    client.stream.resume();
    await client.ended;
    expect(client.events).toHaveLength(6);
    expect(client.data.at(-1)).toBe('the end');
  });
});

describe.each([0, 64 * 1024 * 1024])(
  'with a window of %d bytes, a subscriber',
  (windowMaxBytes) => {
    test('without an id gets all that is held of an ended topic, and then the end', async () => {
      const test = await openTestHub({ windowMaxBytes });
      await publish(test, [update('a', '1'), update('b', '2'), update('a', '3', LAST)]);
      await publish(test, [update('b', '4')]);
      const client = await subscribe(test, 'a');
      await client.ended;
      expect(client.data).toEqual(['1', '3']);
      expect(await isOver(test, 'a', client.lastEventId)).toBe(true);
    });

    test('with latest gets the newest of each topic, and then the end', async () => {
      const test = await openTestHub({ windowMaxBytes });
      await publish(test, [update('a', '1'), update('b', '2', LAST), update('a', '3', LAST)]);
      const client = await subscribe(test, ['a', 'b'], { latest: true });
      await client.ended;
      expect(client.data).toEqual(['2', '3']);
      // One that is cut off before its first update has no id that would say that it has had it.
      expect(client.firstEventId).toBe(client.events[0]?.id);
      expect(await isOver(test, ['a', 'b'], client.lastEventId)).toBe(true);
    });

    test('that may have nothing of before gets the end, and an id to come back with', async () => {
      const test = await openTestHub({ windowMaxBytes });
      await publish(test, [update('a', '1'), update('a', '2', LAST)]);
      const client = await subscribe(test, 'a', { withheld: true });
      await client.ended;
      expect(client.data).toEqual([]);
      expect(await isOver(test, 'a', client.lastEventId)).toBe(true);
    });

    test('that comes back from before the end gets the rest, and then the end', async () => {
      const test = await openTestHub({ windowMaxBytes });
      const refs = await publish(test, [
        update('a', '1'),
        update('a', '2', { id: 'mine' }),
        update('a', '3', { id: 'the end', ...LAST }),
      ]);
      for (const [n, from] of ['earliest', refs[0]?.id, 'mine'].entries()) {
        expect(await isOver(test, 'a', from)).toBe(false);
        const client = await subscribe(test, 'a', { from: from as string });
        await client.ended;
        expect(client.data).toEqual(['1', '2', '3'].slice(n));
        expect(client.lastEventId).toBe('the end');
      }
      expect(await isOver(test, 'a', 'the end')).toBe(true);
      expect(await isOver(test, 'a', refs[2]?.position)).toBe(true);
    });

    test('whose last update was trimmed is sent its place, so that it does not come back for ever', async () => {
      const test = await openTestHub({ windowMaxBytes, maxUpdates: 2 });
      const refs = await publish(test, [update('a', '1'), update('a', '2', { id: 'z', ...LAST })]);
      await publish(test, [update('b', '3'), update('b', '4'), update('b', '5')]);
      for (const from of [undefined, 'earliest', refs[0]?.id, 'unknown']) {
        const client = await subscribe(test, 'a', from === undefined ? {} : { from });
        await client.ended;
        expect(client.data.filter((data) => !data.startsWith('{'))).toEqual([]);
        expect(client.lastEventId).toBe(refs[1]?.position);
      }
      // Its id is known as well as its place, and what stands after it.
      for (const id of ['z', refs[1]?.position]) expect(await isOver(test, 'a', id)).toBe(true);
      for (const id of [refs[0]?.id, 'unknown', 'earliest']) {
        expect(await isOver(test, 'a', id)).toBe(false);
      }
    });
  },
);

describe('a private last update', () => {
  const PRIVATE = { last: true, private: true };

  test('ends nothing for those who may not receive it: nothing tells them of it', async () => {
    const test = await openTestHub();
    const live = await subscribe(test, 'a');
    const latest = await subscribe(test, 'a', { latest: true });
    const elsewhere = await subscribe(test, 'a', { grants: ['b'] });
    await test.hub.publish([update('a', '1')]);
    const [end] = await publish(test, [update('a', '2', { id: 'mine', ...PRIVATE })]);
    const clients = [live, latest, elsewhere];
    clients.push(await subscribe(test, 'a'));
    clients.push(await subscribe(test, 'a', { latest: true }));
    clients.push(await subscribe(test, 'a', { grants: ['b', 'c/{x}'] }));
    for (const from of ['earliest', end?.position, 'mine']) {
      clients.push(await subscribe(test, 'a', { from: from as string }));
      clients.push(await subscribe(test, 'a', { from: from as string, grants: ['b'] }));
    }
    await settled();
    expect(clients.filter(({ stream }) => !stream.writable)).toEqual([]);
    for (const from of ['mine', end?.position]) {
      expect(await isOver(test, 'a', from)).toBe(false);
      expect(await isOver(test, 'a', from, ['b'])).toBe(false);
    }
  });

  test('ends all for those who may', async () => {
    const test = await openTestHub();
    const grants = ['a'];
    const live = await subscribe(test, 'a', { grants });
    const [end] = await test.hub.publish([update('a', '1'), update('a', '2', PRIVATE)]);
    await live.ended;
    expect(live.data).toEqual(['1', '2']);
    const later = await subscribe(test, 'a', { grants });
    await later.ended;
    expect(later.data).toEqual(['1', '2']);
    const latest = await subscribe(test, 'a', { grants, latest: true });
    await latest.ended;
    expect(latest.data).toEqual(['2']);
    expect(await isOver(test, 'a', end?.id, grants)).toBe(false);
    expect(await isOver(test, 'a', later.lastEventId, grants)).toBe(true);
  });

  test('counts among several only for those who may receive it', async () => {
    const test = await openTestHub();
    const without = await subscribe(test, ['a', 'b']);
    const within = await subscribe(test, ['a', 'b'], { grants: ['x'] });
    await test.hub.publish([update(['b', 'x'], '1', PRIVATE)]);
    await test.hub.publish([update('a', '2', LAST)]);
    await within.ended;
    expect(within.data).toEqual(['1', '2']);
    await without.has(1);
    await settled();
    expect(without.stream.writable).toBe(true);
    const alone = await subscribe(test, 'b', { grants: ['x'] });
    await alone.ended;
  });

  test('of very many topics is looked through in slices of time', async () => {
    const test = await openTestHub();
    const topics = (n: number) =>
      Array.from({ length: MAX_TOPICS_PER_UPDATE }, (_, m) => `https://example.com/${n}/${m}`);
    const asked = Array.from({ length: 50 }, (_, n) => topics(n)[0] as string);
    const updates = asked.map((_, n) => update(topics(n), `${n}`, PRIVATE));
    await publish(test, updates);
    const grants = [
      ...Array.from({ length: 60 }, (_, n) => `{+a,b,c}x${n}{/h*}{?i,j,k}y`),
      'https://example.com/{n}/99',
    ];
    const client = await subscribe(test, asked, { grants });
    let turns = 0;
    const counting = setInterval(() => (turns += 1), 0);
    await client.ended;
    clearInterval(counting);
    expect(client.events).toHaveLength(50);
    expect(turns).toBeGreaterThan(3);
    expect(await isOver(test, asked, client.lastEventId, grants)).toBe(true);
  });
});

describe('on one node of several', () => {
  test('an end that comes from another one ends the streams here', async () => {
    const test = await openNodeOf(openShared());
    const client = await subscribe(test, 'a');
    await test.shared.append([update('a', '1'), update('a', '2', LAST)]);
    expect(test.hub.hasEnded('a')).toBe(false);
    test.node.tell();
    await client.ended;
    expect(client.data).toEqual(['1', '2']);
    expect(test.hub.hasEnded('a')).toBe(true);
  });

  test('a client that has had an end which was not followed yet is told that all is over when it is', async () => {
    const test = await openNodeOf(openShared());
    const [end] = await test.shared.append([update('a', '1', LAST)]);
    const over = isOver(test, 'a', end?.id);
    await settled();
    test.node.tell();
    expect(await over).toBe(true);
  });

  test('a client that has had what came after a reopening is not turned away, however late this node is', async () => {
    const test = await openNodeOf(openShared());
    await test.shared.append([update('a', '1', LAST)]);
    test.node.tell();
    const [again] = await test.shared.append([update('a', '2', { reopen: true })]);
    const over = isOver(test, 'a', again?.id);
    await settled();
    test.node.tell();
    expect(await over).toBe(false);
  });

  test('to wait for that costs nothing once the client has left, and ends after five seconds', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    const test = await openNodeOf(openShared());
    const [end] = await test.shared.append([update('a', '1', LAST)]);
    const wanted = selection('a');
    const start = await test.hub.locate(end?.id as string, wanted);
    const client = Object.assign(new EventEmitter(), { writable: true });
    const left = test.hub.isOver(wanted, start, client);
    const late = test.hub.isOver(wanted, start);
    expect(jest.getTimerCount()).toBe(2);
    client.emit('close');
    expect(await left).toBe(false);
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(5_000);
    expect(await late).toBe(false);
    expect(client.listenerCount('close')).toBe(0);
  });

  test('a hub that opens later knows the ends of before, and those that come while it opens', async () => {
    const shared = openShared(3);
    await shared.append([update('a', '1', LAST), update('b', '2', LAST), update('c', '3', LAST)]);
    await shared.append([update('b', '4', { reopen: true })]);
    const node = new NodeJournal(shared);
    const held = node.hold('endings');
    const opening = openTestHub({ journal: node });
    await held.called;
    const refs = await shared.append([update('c', '5', { reopen: true }), update('d', '6', LAST)]);
    held.release();
    const { hub } = await opening;
    node.tell();
    await hub.delivered(refs);
    expect(['a', 'b', 'c', 'd'].map((topic) => hub.hasEnded(topic))).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });

  test('a hub does not open over a journal whose endings cannot be read', async () => {
    const journal = openShared();
    // biome-ignore lint/correctness/useYield: it fails before.
    jest.spyOn(journal, 'endings').mockImplementation(async function* endings() {
      throw new Error('unreadable');
    });
    await expect(openTestHub({ journal })).rejects.toThrow('unreadable');
  });
});

describe('when the place in the journal is lost', () => {
  test('an end that was missed ends the streams, after all that was missed', async () => {
    const test = await openNodeOf(openShared());
    const client = await subscribe(test, 'a');
    await test.shared.append([update('a', '1'), update('a', '2', LAST)]);
    test.node.lose();
    await client.ended;
    expect(client.data).toEqual(['1', '2']);
  });

  test('a reopening that was missed reopens', async () => {
    const test = await openNodeOf(openShared());
    const [end] = await test.shared.append([update('a', '1', LAST)]);
    test.node.tell();
    expect(await isOver(test, 'a', end?.id)).toBe(true);
    const refs = await test.shared.append([update('a', '2', { reopen: true })]);
    test.node.lose();
    await test.hub.delivered(refs);
    expect(await isOver(test, 'a', end?.id)).toBe(false);
    const client = await subscribe(test, 'a', { from: (end as EntryRef).id });
    await client.has(1);
    expect(client.stream.writable).toBe(true);
  });

  test('what is delivered while the endings are read counts, and not what was read before that', async () => {
    const test = await openNodeOf(openShared());
    await test.shared.append([update('a', '1', LAST), update('b', '2', LAST)]);
    test.node.tell();
    await test.shared.append([update('c', '3')]);
    const held = test.node.hold('endings');
    test.node.lose();
    await held.called;
    const marks = [update('a', '4', { reopen: true }), update('c', '5', LAST)];
    const refs = await test.shared.append(marks);
    test.node.tell();
    await test.hub.delivered(refs);
    const client = await subscribe(test, 'a');
    held.release();
    while (!test.hub.hasEnded('b')) await settled();
    const topics = ['a', 'b', 'c'];
    expect(topics.map((topic) => test.hub.hasEnded(topic))).toEqual([false, true, true]);
    await test.shared.append([update('a', '6')]);
    test.node.tell();
    await client.has(1);
    expect(client.data).toEqual(['6']);
  });

  test('a client that comes before the endings are read again misses nothing of an ended topic', async () => {
    const test = await openNodeOf(openShared());
    await test.shared.append([update('a', '1'), update('a', '2', LAST), update('b', '3')]);
    const held = test.node.hold('endings');
    test.node.lose();
    await held.called;
    const client = await subscribe(test, 'a');
    await settled();
    expect(client.stream.writable).toBe(true);
    held.release();
    await client.ended;
    // It has been given no id, and so comes back without one.
    expect(client.lastEventId).toBeUndefined();
    const again = await subscribe(test, 'a');
    await again.ended;
    expect(again.data).toEqual(['1', '2']);
  });

  test('a client that comes before the endings are read again is told where it began, once that is known', async () => {
    const test = await openNodeOf(openShared());
    const [before] = await test.shared.append([update('a', '1'), update('b', '2', LAST)]);
    const held = test.node.hold('endings');
    test.node.lose();
    await held.called;
    const [quiet, sent] = [await subscribe(test, 'a'), await subscribe(test, 'c')];
    const [last] = await test.shared.append([update('c', '3')]);
    test.node.tell();
    await sent.has(1);
    expect([quiet.lastEventId, sent.lastEventId]).toEqual([undefined, last?.id]);
    held.release();
    while (quiet.lastEventId === undefined) await settled();
    const missed = await test.shared.append([update('a', '4')]);
    quiet.leave();
    test.node.tell();
    await test.hub.delivered(missed);
    const again = await subscribe(test, 'a', { from: quiet.lastEventId });
    await again.has(1);
    expect(again.data).toEqual(['4']);
    expect(comparePositions(quiet.lastEventId, (before as EntryRef).position)).toBeGreaterThan(0);
    // Who has got an update by then is not put back before it.
    expect(sent.lastEventId).toBe(last?.id);
  });

  test('endings that cannot be read are read later', async () => {
    const test = await openNodeOf(openShared());
    const client = await subscribe(test, 'a');
    await test.shared.append([update('a', '1', LAST)]);
    const { endings } = test.node;
    // biome-ignore lint/correctness/useYield: it fails before.
    jest.spyOn(test.node, 'endings').mockImplementation(async function* unreadable() {
      throw new Error('unreadable');
    });
    test.node.lose();
    await client.has(1);
    while (test.log.length < 2) await settled();
    expect(test.log.join('\n')).toMatch(/The endings of topics cannot be read/);
    expect(client.stream.writable).toBe(true);
    test.node.endings = endings;
    await client.ended;
  });
});

describe('publishing', () => {
  test('to an ended topic is refused, and with reopen is not', async () => {
    const { hub } = await openTestHub();
    await hub.publish([update('a', '1', LAST)]);
    await expect(hub.publish([update(['b', 'a'], '2')])).rejects.toMatchObject({
      code: 'ERR_TOPIC_ENDED',
      message: expect.stringContaining('"a"'),
    });
    await hub.delivered(await hub.publish([update('a', '3', { reopen: true }), update('a', '4')]));
    expect(hub.hasEnded('a')).toBe(false);
  });

  test('refuses marks that are no booleans, and on transient updates', async () => {
    const { hub } = await openTestHub();
    for (const mark of ['last', 'reopen']) {
      for (const value of ['true', 1, null]) {
        const wrong = update('a', '1', { [mark]: value });
        await expect(hub.publish([wrong])).rejects.toThrow(`${mark} must be true or false`);
      }
      const wrong = update('a', '1', { [mark]: true, transient: true });
      await expect(hub.publish([wrong])).rejects.toThrow(`${mark} is not for transient updates`);
    }
    await hub.publish([update('a', '1', { last: false, reopen: false, transient: true })]);
  });
});

test('thousands of streams that end at once do so a few in each turn', async () => {
  const test = await openTestHub();
  const clients = await Promise.all(Array.from({ length: 2_000 }, () => subscribe(test, 'a')));
  let inTurn = 0;
  const perTurn: number[] = [];
  const ends = clients.map(
    ({ stream }) =>
      new Promise<void>((resolve) => {
        stream.once('finish', () => {
          if (inTurn === 0) {
            setImmediate(() => {
              perTurn.push(inTurn);
              inTurn = 0;
            });
          }
          inTurn += 1;
          resolve();
        });
      }),
  );
  await test.hub.publish([update('a', '1', LAST)]);
  await Promise.all(ends);
  await Promise.all(clients.map(({ ended }) => ended));
  await new Promise(setImmediate);
  expect(perTurn.reduce((sum, count) => sum + count)).toBe(2_000);
  expect(Math.max(...perTurn)).toBeLessThan(300);
  expect(clients.every(({ data }) => data[0] === '1')).toBe(true);
});

test('thousands of selections are asked in slices of time whether all of theirs has ended', async () => {
  const test = await openTestHub();
  const ended = Array.from({ length: 98 }, (_, n) => `a/${n}`);
  await publish(
    test,
    ended.map((topic) => update(topic, '', LAST)),
  );
  const clients = await Promise.all(
    Array.from({ length: 2_000 }, (_, n) => subscribe(test, [...ended, 'b', `c/${n}`])),
  );
  await settled();
  const looks = jest.spyOn(KnownEndings.prototype, 'lastOf');
  const perTurn: number[] = [];
  await test.hub.publish([update('b', '1', LAST)]);
  for (let left = 2_000 * 100; left > 0; left -= perTurn.at(-1) as number) {
    perTurn.push(looks.mock.calls.length);
    looks.mockClear();
    await new Promise(setImmediate);
  }
  looks.mockRestore();
  expect(Math.max(...perTurn)).toBeLessThan(100_000);
  await Promise.all(clients.map((client) => client.has(1)));
  expect(clients.every(({ stream }) => stream.writable)).toBe(true);
});
