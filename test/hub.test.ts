import { once } from 'node:events';
import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { UpdateError } from '../src/hub/update.js';
import type { EntryRef, Update } from '../src/journal/journal.js';
import { Selection } from '../src/topics/selection.js';
import {
  HubClient,
  openTestHub,
  selection,
  settled,
  subscribe,
  type TestHub,
  update,
} from './support/hub.js';

/** Window sizes that take every way: all from the journal, both, and all from memory. */
const WINDOWS = [0, 5_000, 64 * 1024 * 1024];

async function publishMany({ hub }: TestHub, topic: string, from: number, count: number) {
  const updates = Array.from({ length: count }, (_, n) => update(topic, String(from + n)));
  return (await hub.publish(updates)).map(({ id }) => id);
}

const numbers = (from: number, count: number) =>
  Array.from({ length: count }, (_, n) => String(from + n));

describe('live', () => {
  test('a subscriber receives what its selectors match, in order, with id, type and retry', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, ['a', 'books/{id}']);
    const refs = await test.hub.publish([
      update('a', '1', { type: 'news', retry: 5 }),
      update('b', '2'),
      update(['c', 'books/7'], '3', { id: 'mine' }),
    ]);
    await client.has(2);
    expect(client.events).toEqual([
      { id: refs[0]?.id, event: 'news', data: '1' },
      { id: 'mine', event: undefined, data: '3' },
    ]);
  });

  test('an update that several selectors or topics match arrives once', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, ['*', 'a', 'b', '{x}']);
    await test.hub.publish([update(['a', 'b'], '1'), update('c', '2')]);
    await client.has(2);
    await settled();
    expect(client.data).toEqual(['1', '2']);
  });

  test('a subscriber that is lost before its first update has an id to come back with', async () => {
    const test = await openTestHub();
    const lastIds = [];
    for (const data of ['1', '2']) {
      const client = await subscribe(test, 'a');
      await settled();
      expect(client.events).toEqual([]);
      lastIds.push(client.lastEventId);
      client.leave();
      await test.hub.publish([update('a', data, { id: `secret ${data}`, private: true })]);
    }
    expect(lastIds[0]).toBe('earliest');
    expect(lastIds[1]).toMatch(/^\d{13}-1$/);
    for (const [n, from] of lastIds.entries()) {
      const client = await subscribe(test, 'a', { from: from as string, grants: ['a'] });
      await client.has(2 - n);
      expect(client.data).toEqual(['1', '2'].slice(n));
    }
  });

  test('a subscriber that has left costs nothing: its group is gone', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, 'a');
    expect(test.hub.statistics.subscriptions).toBe(1);
    client.leave();
    await once(client.stream, 'close');
    expect(test.hub.statistics.subscriptions).toBe(0);
    expect(client.stream.listenerCount('drain')).toBe(0);
  });

  test('refuses what no frame can carry, and ids of the form of its own', async () => {
    const { hub, journal } = await openTestHub();
    const wrong = [
      update('a', 'x', { type: 'a\nb' }),
      update('a', 'x', { retry: -1 }),
      update('a', 'x', { id: '1795196765777-1' }),
      update('a', 'x', { id: 'x ' }),
      update([], 'x'),
      update(['a', 'a'], 'x'),
      update('x'.repeat(1025), 'x'),
      update('a', undefined as unknown as string),
    ];
    for (const each of wrong) {
      await expect(hub.publish([update('a', 'fine'), each])).rejects.toThrow(UpdateError);
    }
    expect((await journal.bounds()).head).toBeUndefined();
  });

  test('a stream that has closed already is not subscribed, and leaves no group', async () => {
    const { hub } = await openTestHub();
    const gone = new HubClient();
    gone.leave();
    hub.subscribe(gone.stream, selection('a'));
    await once(gone.stream, 'close');
    hub.subscribe(gone.stream, selection('a'));
    expect(hub.statistics.subscriptions).toBe(0);
  });
});

describe.each(WINDOWS)('replay, with a window of %d bytes', (windowMaxBytes) => {
  test('what was missed comes after the last id, in order, and then what is live', async () => {
    const test = await openTestHub({ windowMaxBytes });
    const ids = await publishMany(test, 'a', 0, 10);
    const client = await subscribe(test, 'a', { from: ids[3] as string });
    await client.has(6);
    await publishMany(test, 'a', 10, 5);
    await client.has(11);
    expect(client.data).toEqual(numbers(4, 11));
    expect(client.events.every(({ event }) => event === undefined)).toBe(true);
  });

  test('earliest is all that is held', async () => {
    const test = await openTestHub({ windowMaxBytes });
    await publishMany(test, 'a', 0, 10);
    const client = await subscribe(test, 'a', { from: 'earliest' });
    await client.has(10);
    expect(client.data).toEqual(numbers(0, 10));
  });

  test('earliest of a journal that has nothing is what comes', async () => {
    const test = await openTestHub({ windowMaxBytes });
    const client = await subscribe(test, 'a', { from: 'earliest' });
    await publishMany(test, 'a', 0, 3);
    await client.has(3);
    expect(client.data).toEqual(numbers(0, 3));
  });

  test('only of the topics asked for, whatever the selectors', async () => {
    const test = await openTestHub({ windowMaxBytes });
    for (let n = 0; n < 50; n += 1) {
      await test.hub.publish([update(`item/${n % 5}`, String(n)), update('other', 'x')]);
    }
    const one = await subscribe(test, 'item/3', { from: 'earliest' });
    const some = await subscribe(test, ['item/1', 'item/2', 'none'], { from: 'earliest' });
    const templated = await subscribe(test, 'item/{n}', { from: 'earliest' });
    const all = await subscribe(test, '*', { from: 'earliest' });
    await Promise.all([one.has(10), some.has(20), templated.has(50), all.has(100)]);
    await settled();
    const wanted = (test: (n: number) => boolean) => numbers(0, 50).filter((n) => test(Number(n)));
    expect(one.data).toEqual(wanted((n) => n % 5 === 3));
    expect(some.data).toEqual(wanted((n) => n % 5 === 1 || n % 5 === 2));
    expect(templated.data).toEqual(numbers(0, 50));
    expect(all.data).toHaveLength(100);
  });

  test('a replay of many batches is in order and complete', async () => {
    const test = await openTestHub({ windowMaxBytes });
    for (let n = 0; n < 20_000; n += 1000) await publishMany(test, `topic/${n % 3}`, n, 1000);
    for (const topics of ['*', 'topic/{n}', ['topic/0', 'topic/1', 'topic/2']]) {
      const client = await subscribe(test, topics, { from: 'earliest' });
      await client.has(20_000);
      expect(client.data).toEqual(numbers(0, 20_000));
      client.leave();
    }
  });

  test('hand-over: clients come and go while publishing goes on, and none has a hole or a repeat', async () => {
    const test = await openTestHub({ windowMaxBytes });
    const published: string[] = await publishMany(test, 'a', 0, 100);
    let publishing = true;
    const publisher = (async () => {
      for (let n = 100; n < 6_000; n += 20) {
        published.push(...(await publishMany(test, 'a', n, 20)));
        await new Promise(setImmediate);
      }
      publishing = false;
    })();

    const check = (client: HubClient, after: string) => {
      const start = published.indexOf(after) + 1;
      expect(client.ids).toEqual(published.slice(start, start + client.ids.length));
    };
    const comeAndGo = async (seed: number) => {
      let last = published[seed] as string;
      let received = 0;
      while (publishing) {
        const client = await subscribe(test, seed % 2 ? 'a' : '*', { from: last });
        await Promise.race([client.has(1 + ((seed * 7 + received) % 50)), publisher]);
        client.leave();
        check(client, last);
        last = client.ids.at(-1) ?? last;
        received += client.ids.length;
      }
      const client = await subscribe(test, 'a', { from: last });
      await client.has(published.length - published.indexOf(last) - 1);
      check(client, last);
      expect(client.ids.at(-1) ?? last).toBe(published.at(-1));
    };
    await Promise.all([publisher, ...Array.from({ length: 20 }, (_, seed) => comeAndGo(seed))]);
    expect(published).toHaveLength(6_000);
  });
});

test.each(WINDOWS)(
  "replay of a topic looks at that topic's updates alone, however many others there are (window %d)",
  async (windowMaxBytes) => {
    const test = await openTestHub({ windowMaxBytes });
    for (let n = 0; n < 10; n += 1) {
      await publishMany(test, 'others', 0, 2_000);
      await publishMany(test, 'rare', n, 1);
    }
    const lookedAt = jest.spyOn(Selection.prototype, 'admits');
    const client = await subscribe(test, 'rare', { from: 'earliest' });
    await client.has(10);
    expect(lookedAt.mock.calls.length).toBeLessThanOrEqual(10);
    lookedAt.mockRestore();
  },
);

describe('the gap', () => {
  const gapOf = ({ events }: HubClient) => {
    expect(events[0]).toMatchObject({ event: 'gap', id: undefined });
    return JSON.parse(events[0]?.data ?? '');
  };

  test('is told first when the last id is older than what is held, then all that is held', async () => {
    const test = await openTestHub({ maxUpdates: 10, windowMaxBytes: 0 });
    const ids = await publishMany(test, 'a', 0, 20);
    const client = await subscribe(test, 'a', { from: ids[2] as string });
    await client.has(11);
    const held = client.data.slice(1);
    expect(gapOf(client)).toEqual({
      lastEventID: ids[2],
      oldest: client.ids[1],
      reason: 'trimmed',
    });
    expect(held).toEqual(numbers(20 - held.length, held.length));
  });

  test.each(['nobody', '1234567890123-7', 'urn:uuid:5a3c'])(
    'is told for an id that is none of this journal: %s',
    async (from) => {
      const test = await openTestHub();
      await publishMany(test, 'a', 0, 3);
      const client = await subscribe(test, 'a', { from });
      await client.has(4);
      expect(gapOf(client)).toMatchObject({ lastEventID: from, reason: 'unknown' });
      expect(client.data.slice(1)).toEqual(numbers(0, 3));
    },
  );

  test('what the journal has trimmed is not sent, though the window may still have it', async () => {
    const test = await openTestHub({ maxUpdates: 5 });
    const ids = await publishMany(test, 'a', 0, 10);
    const cases = { trimmed: ids[1], boundary: ids[4], held: ids[6], earliest: 'earliest' };
    const clients = await Promise.all(
      Object.values(cases).map((from) => subscribe(test, 'a', { from: from as string })),
    );
    await settled();
    expect(clients.map(({ events }) => events.map(({ event, data }) => event ?? data))).toEqual([
      ['gap', ...numbers(5, 5)],
      numbers(5, 5),
      numbers(7, 3),
      numbers(5, 5),
    ]);
  });

  test('a client of a rare topic that has missed nothing is told of none', async () => {
    const test = await openTestHub({ maxUpdates: 100, windowMaxBytes: 0 });
    const [from = ''] = await publishMany(test, 'rare', 0, 1);
    const client = await subscribe(test, 'rare', { from });
    await settled(); // It is live.
    for (let n = 0; n < 20; n += 1) await publishMany(test, 'others', 0, 50);
    await publishMany(test, 'rare', 1, 1);
    await client.has(1);
    expect(client.events.map(({ event, data }) => event ?? data)).toEqual(['1']);
  });

  describe('while a publisher floods the journal', () => {
    /** The flood is trimmed from behind an update of somebody else. */
    const flooded = async (rest: Partial<Update> = {}, windowMaxBytes = 0) => {
      const test = await openTestHub({ maxUpdates: 100, windowMaxBytes });
      const [quiet] = await test.hub.publish([update('quiet/1', '0', { publisher: 'bob' })]);
      const flood = async (count: number) => {
        const refs: EntryRef[] = [];
        for (let n = 0; n < count; n += 1) {
          const one = update(`flood/${n % 7}`, `flood ${n}`, { publisher: 'ada', ...rest });
          refs.push(...(await test.hub.publish([one])));
        }
        return refs;
      };
      const refs = await flood(500);
      await test.hub.publish([update('quiet/1', '1', { publisher: 'bob' })]);
      return { test, quiet: quiet as EntryRef, refs, flood };
    };

    test.each([
      [['quiet/1']],
      [['quiet/{n}']],
      [['quiet/1', '{+a}/quiet']],
      [['other', 'quiet/{n}']],
    ])('is not told to subscribers of other topics: %j', async (topics) => {
      const { test, quiet, refs } = await flooded();
      for (const from of [quiet.id, refs[0]?.id, refs[250]?.id]) {
        const client = await subscribe(test, topics, { from: from as string });
        await client.has(1);
        await settled();
        expect(client.data).toEqual(['1']);
      }
    });

    test.each(['flood/3', 'flood/{n}', '*', '{x}/3'])(
      'is told to those of its own: %s',
      async (topic) => {
        const { test, quiet, refs } = await flooded();
        for (const { id } of [quiet, refs[0], refs[250]] as EntryRef[]) {
          const client = await subscribe(test, topic, { from: id });
          await client.has(2);
          expect(client.events.map(({ event }) => event === 'gap').indexOf(true)).toBe(0);
          expect(gapOf(client)).toMatchObject({ lastEventID: id, reason: 'trimmed' });
        }
      },
    );

    test('is not told of private updates to clients that may see none', async () => {
      const { test, quiet } = await flooded({ private: true });
      const from = quiet.id;
      for (const topics of ['flood/3', '*', '{+any}']) {
        const without = await subscribe(test, topics, { from });
        await test.hub.publish([update('flood/3', 'live')]);
        while (!without.data.includes('live')) await without.has(without.events.length + 1);
        expect(without.events.map(({ event }) => event)).not.toContain('gap');
        const withGrant = await subscribe(test, topics, { from, grants: ['*'] });
        await withGrant.has(2);
        expect(gapOf(withGrant).reason).toBe('trimmed');
      }
    });

    test('is not told to a client that came during it and goes on from the id it was given', async () => {
      const { test, flood } = await flooded();
      const client = await subscribe(test, 'quiet/2');
      const from = client.lastEventId as string;
      client.leave();
      await flood(300);
      await test.hub.publish([update('quiet/2', 'missed', { publisher: 'bob' })]);
      const again = await subscribe(test, 'quiet/2', { from });
      await again.has(1);
      expect(again.data).toEqual(['missed']);
    });
  });

  test('does not tell the own id of a private update', async () => {
    const test = await openTestHub();
    await test.hub.publish([update('b', 'x', { id: 'secret', private: true })]);
    const client = await subscribe(test, 'a', { from: 'nobody' });
    await client.has(1);
    expect(gapOf(client).oldest).toMatch(/^\d{13}-1$/);
  });

  test('names no oldest update if nothing is held', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, 'a', { from: 'nobody' });
    await client.has(1);
    expect(gapOf(client)).toEqual({ lastEventID: 'nobody', oldest: null, reason: 'unknown' });
  });

  test('is not told to a client at the head, or at the last update that was trimmed', async () => {
    const test = await openTestHub({ maxUpdates: 10, windowMaxBytes: 0 });
    const ids = await publishMany(test, 'a', 0, 20);
    const atHead = await subscribe(test, 'a', { from: ids.at(-1) as string });
    const { oldest } = await test.journal.bounds();
    const lastTrimmed = ids[ids.indexOf(oldest?.id as string) - 1] as string;
    const atBoundary = await subscribe(test, 'a', { from: lastTrimmed });
    await atBoundary.has(10);
    await publishMany(test, 'a', 20, 1);
    await Promise.all([atHead.has(1), atBoundary.has(11)]);
    expect(atHead.data).toEqual(['20']);
    expect(atBoundary.events.every(({ event }) => event === undefined)).toBe(true);
  });
});

describe('a slow client', () => {
  /** Publishes until the client is found not to read. */
  async function stall(test: TestHub, client: HubClient, from: number): Promise<number> {
    client.stream.pause();
    let next = from;
    const before = test.hub.statistics.slow;
    while (test.hub.statistics.slow === before) {
      await test.hub.publish([update('a', `${next} ${'x'.repeat(5000)}`)]);
      await settled();
      next += 1;
    }
    return next;
  }

  const counted = ({ data }: HubClient) => data.map((text) => Number.parseInt(text, 10));

  test.each(WINDOWS)(
    'catches up in order when it reads again, and costs bounded memory meanwhile (window %d)',
    async (windowMaxBytes) => {
      const test = await openTestHub({ windowMaxBytes });
      const [client, other] = [await subscribe(test, 'a'), await subscribe(test, 'a')];
      let next = 0;
      for (let round = 0; round < 3; round += 1) {
        next = await stall(test, client, next);
        for (let n = 0; n < 200; n += 1, next += 1) {
          await test.hub.publish([update('a', `${next} ${'x'.repeat(5000)}`)]);
        }
        await settled();
        const { readableLength, writableLength } = client.stream;
        expect(readableLength + writableLength).toBeLessThan(128 * 1024);
        client.stream.resume();
        await client.has(next);
        // Live again: what comes now arrives like any other.
        await settled();
      }
      await other.has(next);
      const all = Array.from({ length: next }, (_, n) => n);
      expect(counted(client)).toEqual(all);
      expect(counted(other)).toEqual(all);
      expect(test.log.join('\n')).toMatch(/a test does not read/);
    },
  );

  test('that falls off what is held is told of a gap, then goes on with the oldest', async () => {
    const test = await openTestHub({ windowMaxBytes: 20_000, maxUpdates: 20 });
    const client = await subscribe(test, 'a');
    let next = await stall(test, client, 0);
    for (let n = 0; n < 500; n += 1, next += 1) {
      await test.hub.publish([update('a', `${next} ${'x'.repeat(5000)}`)]);
    }
    client.stream.resume();
    while (counted(client).at(-1) !== next - 1) await client.has(client.events.length + 1);
    const gap = client.events.findIndex(({ event }) => event === 'gap');
    expect(gap).toBeGreaterThan(0);
    const told = JSON.parse(client.data[gap] as string);
    expect(told.reason).toBe('trimmed');
    expect(told.lastEventID).toBe(client.ids[gap - 1]);
    const before = counted(client).slice(0, gap);
    const after = counted(client).slice(gap + 1);
    expect(before).toEqual(before.map((_, n) => n));
    expect(after).toEqual(after.map((_, n) => (after[0] as number) + n));
  });

  test('of a quiet topic is told of no gap when only other topics were trimmed', async () => {
    const test = await openTestHub({ windowMaxBytes: 2_000, maxUpdates: 50 });
    const client = await subscribe(test, 'a');
    await publishMany(test, 'others', 0, 1000);
    const next = await stall(test, client, 0);
    client.stream.resume();
    await client.has(next);
    await settled();
    expect(client.events.map(({ event }) => event)).not.toContain('gap');
    expect(counted(client)).toEqual(Array.from({ length: next }, (_, n) => n));
  });

  test('is cut off instead, where the hub is told to', async () => {
    const test = await openTestHub({ slowClients: 'disconnect' });
    const client = await subscribe(test, 'a');
    const closed = once(client.stream, 'close');
    await stall(test, client, 0);
    await closed;
    expect(test.log.join()).toMatch(/disconnected/);
    expect(test.hub.statistics).toMatchObject({ subscriptions: 0, slow: 1 });
  });
});

describe('the latest on connect', () => {
  test.each(WINDOWS)(
    'is the newest update of each topic, then what is live (window %d)',
    async (windowMaxBytes) => {
      const test = await openTestHub({ windowMaxBytes });
      await test.hub.publish([
        update('t/1', 'old'),
        update(['t/1', 't/2'], 'both'),
        update('t/3', 'three'),
        update('u', 'not asked for'),
        update('t/4', 'public'),
        update('t/4', 'secret', { private: true }),
        update('t/3', 'three again'),
      ]);
      const client = await subscribe(test, 't/{n}', { latest: true });
      await client.has(3);
      await test.hub.publish([update('t/1', 'live')]);
      await client.has(4);
      await settled();
      expect(client.data).toEqual(['both', 'public', 'three again', 'live']);
    },
  );
});

describe('private updates', () => {
  test('reach those with a grant for one of their topics who asked for one, live and replayed', async () => {
    const topic = fc.constantFrom('a', 'b', 'c/1', 'c/2');
    const selector = fc.constantFrom('a', 'b', 'c/{x}', 'c/1', '{y}', '*', 'none');
    const published = fc.record({
      topics: fc.uniqueArray(topic, { minLength: 1, maxLength: 3 }),
      private: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(published, { minLength: 1, maxLength: 8 }),
        fc.uniqueArray(selector, { minLength: 1, maxLength: 3 }),
        fc.uniqueArray(selector, { maxLength: 3 }),
        fc.constantFrom(...WINDOWS),
        async (updates, selectors, grants, windowMaxBytes) => {
          const matches = (texts: string[], topics: string[]) =>
            texts.some((text) =>
              topics.some(
                (name) =>
                  text === '*' ||
                  text === name ||
                  (text === '{y}' && !name.includes('/')) ||
                  (text === 'c/{x}' && name.startsWith('c/')),
              ),
            );
          const expected = updates.flatMap((candidate, n) => {
            const asked = matches(selectors, candidate.topics);
            const granted = !candidate.private || matches(grants, candidate.topics);
            return asked && granted ? [String(n)] : [];
          });
          const test = await openTestHub({ windowMaxBytes });
          const live = await subscribe(test, selectors, { grants });
          await test.hub.publish(updates.map((each, n) => ({ ...each, data: String(n) })));
          const replayed = await subscribe(test, selectors, { grants, from: 'earliest' });
          await Promise.all([live.has(expected.length), replayed.has(expected.length)]);
          await settled();
          expect(live.data).toEqual(expected);
          expect(replayed.data).toEqual(expected);
          live.leave();
          replayed.leave();
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('embedding code', () => {
  test('a selection with the same selectors in another order is the same group', () => {
    expect(selection(['a', 'b'], ['c']).key).toBe(selection(['b', 'a', 'a'], ['c']).key);
    expect(selection(['a']).key).not.toBe(selection(['a'], ['a']).key);
  });
});
