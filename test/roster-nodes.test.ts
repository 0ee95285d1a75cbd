import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createClient } from 'redis';
import { openRedisRoster } from '../src/journal/redis/roster.js';
import type { Departure, Roster, RosterEntry, RosterWatcher } from '../src/journal/roster.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { all, entry, subscriber } from './support/roster-contract.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';

/** A node that has not beaten for so long is dead. */
// Longer than a process waits for its turn on a busy machine: else a node that lives is taken for dead.
const TIMEOUT_MS = 1_500;

let redis: RedisServer;
let prefix = '';
const rosters: Roster[] = [];
const proxies: TcpProxy[] = [];
let runs = 0;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.close());
beforeEach(() => {
  runs += 1;
  prefix = `nodes-${runs}`;
});
afterEach(async () => {
  redis.resume();
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()));
  await Promise.all(rosters.splice(0).map((roster) => roster.close()));
});

interface Node {
  readonly roster: Roster;
  readonly watcher: RecordingWatcher;
  readonly log: string[];
}

async function openNode({ url = redis.url, watcher = new RecordingWatcher() } = {}): Promise<Node> {
  const log: string[] = [];
  const roster = await openRedisRoster(url, {
    prefix,
    timeoutMs: TIMEOUT_MS,
    onNotice: ({ message }) => log.push(message),
  });
  rosters.push(roster);
  roster.watch(watcher);
  return { roster, watcher, log };
}

/** A node whose connection can be cut off. */
async function openDistantNode(watcher?: RecordingWatcher): Promise<Node & { proxy: TcpProxy }> {
  const proxy = await startTcpProxy(redis.port);
  proxies.push(proxy);
  const url = `redis://127.0.0.1:${proxy.port}`;
  return { ...(await openNode(watcher ? { url, watcher } : { url })), proxy };
}

/** Remembers what it is told. */
class RecordingWatcher implements RosterWatcher {
  readonly told: Departure[] = [];
  expulsions = 0;
  #wake: (() => void)[] = [];

  async left(departure: Departure): Promise<void> {
    this.told.push(departure);
    this.#happened();
  }

  expelled(): void {
    this.expulsions += 1;
    this.#happened();
  }

  /** Who has left, as far as it is told. */
  get names(): string[] {
    return this.told
      .flatMap(({ ended, active }) => [...ended, ...active])
      .map(({ subscriber }) => subscriber)
      .sort();
  }

  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  #happened(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

const names = (count: number) => Array.from({ length: count }, (_, n) => `urn:uuid:${10_000 + n}`);

describe('nodes that share a roster', () => {
  test('see what each of them notes, at once and in the same order', async () => {
    const [a, b] = [await openNode(), await openNode()];
    await a.roster.note([subscriber('one', ['x', 'y'], { user: 'ä' })], []);
    await b.roster.note([subscriber('two', ['x'])], []);
    const listed = [];
    for (const { roster } of [a, b]) {
      const entries: RosterEntry[] = [];
      for await (const page of roster.list()) entries.push(...page);
      listed.push(entries);
      expect(await all(roster, 'x')).toHaveLength(2);
      expect((await roster.get('y', 'one'))?.payload).toEqual({ user: 'ä' });
    }
    expect(listed[0]).toHaveLength(3);
    expect(listed[1]).toEqual(listed[0]);
  });

  test('take over what one of them has left when it goes, once, and list it no more', async () => {
    const [a, b, c] = [await openNode(), await openNode(), await openNode()];
    const staying = subscriber('stays', ['x']);
    await b.roster.note([staying], []);
    await a.roster.note(
      names(1_200).map((name) => subscriber(name, ['x'], { name })),
      [],
    );
    await a.roster.close();
    const told = () => [...b.watcher.told, ...c.watcher.told];
    const count = () => told().reduce((sum, { active }) => sum + active.length, 0);
    await Promise.race([b, c].map(({ watcher }) => watcher.until(() => count() === 1_200)));
    expect([...b.watcher.names, ...c.watcher.names].sort()).toEqual(names(1_200));
    for (const { active } of told()) {
      expect(active.length).toBeLessThanOrEqual(200);
      for (const { subscriber, payload } of active) expect(payload).toEqual({ name: subscriber });
    }
    expect(new Set(told().map(({ key }) => key)).size).toBe(told().length);
    for (const { roster } of [b, c]) expect(await all(roster)).toEqual([entry('x', 'stays')]);
  });

  test('list nothing that one of them has left once the first end of it is published', async () => {
    let listed: RosterEntry[] | undefined;
    const watcher = new RecordingWatcher();
    const b = await openNode({ watcher });
    watcher.left = async (departure) => {
      listed ??= await all(b.roster);
      await RecordingWatcher.prototype.left.call(watcher, departure);
    };
    const a = await openNode();
    await a.roster.note(
      names(1_000).map((name) => subscriber(name, ['x'])),
      [],
    );
    await a.roster.close();
    await watcher.until(() => watcher.names.length === 1_000);
    expect(listed).toEqual([]);
  });

  test('take over from the one that takes over, under the same key', async () => {
    const stuck = new RecordingWatcher();
    const b = await openDistantNode(stuck);
    stuck.left = async (departure) => {
      await RecordingWatcher.prototype.left.call(stuck, departure);
      b.proxy.hold(); // It is dead from now on.
      return new Promise(() => undefined);
    };
    const a = await openNode();
    await a.roster.note([subscriber('one', ['x']), subscriber('two', ['x'])], []);
    await a.roster.close();
    await stuck.until(() => stuck.told.length === 1);

    const c = await openNode();
    await c.watcher.until(() => c.watcher.told.length === 1);
    expect(c.watcher.told).toEqual(stuck.told);
  });

  test('publish a change of one that died before it had published it, under its own key', async () => {
    const a = await openDistantNode();
    await a.roster.note([subscriber('one', ['x']), subscriber('two', ['x'], 'paid')], []);
    a.roster.settle();
    const result = await a.roster.note([], [subscriber('two', ['x'], 'paid')]);
    a.proxy.hold();
    const b = await openNode();
    await b.watcher.until(() => b.watcher.names.length === 2);
    expect(b.watcher.told).toEqual([
      {
        key: result.noted && result.key,
        ended: [{ selector: 'x', subscriber: 'two', payload: 'paid' }],
        active: [{ selector: 'x', subscriber: 'one' }],
        otherKey: expect.any(String),
      },
    ]);
  });

  test('tell nothing again of a change that was published', async () => {
    const [a, b] = [await openDistantNode(), await openNode()];
    await a.roster.note([subscriber('one', ['x']), subscriber('two', ['x'])], []);
    await a.roster.note([], [subscriber('two', ['x'])]);
    a.roster.settle();
    await a.roster.note([subscriber('three', ['x'])], []);
    a.proxy.hold();
    await b.watcher.until(() => b.watcher.names.length === 2);
    expect(b.watcher.names).toEqual(['one', 'three']);
  });

  test('expel one that was cut off, which begins anew when it is back', async () => {
    const [a, b] = [await openDistantNode(), await openNode()];
    await a.roster.note([subscriber('one', ['x'])], []);
    a.proxy.hold();
    await b.watcher.until(() => b.watcher.names.length === 1);
    expect(await all(b.roster)).toEqual([]);
    await a.proxy.heal();
    await a.watcher.until(() => a.watcher.expulsions === 1);
    expect(await a.roster.note([subscriber('again', ['x'])], [])).toMatchObject({ noted: true });
    expect(await all(b.roster)).toEqual([entry('x', 'again')]);
    expect(a.log).toContain('This node was taken for dead: its subscriptions are announced again.');
  });

  test('note nothing for one that is expelled meanwhile', async () => {
    const [a, b] = [await openDistantNode(), await openNode()];
    await a.roster.note([subscriber('one', ['x'])], []);
    a.proxy.hold();
    const result = a.roster.note([subscriber('two', ['x'])], []);
    await b.watcher.until(() => b.watcher.names.length === 1);
    await a.proxy.heal();
    expect(await result).toEqual({ noted: false });
    expect(a.watcher.expulsions).toBe(1);
    expect(await all(b.roster)).toEqual([]);
  });

  test('refuse one of another version, and say so', async () => {
    await openNode();
    const client = createClient({ url: redis.url });
    await client.connect();
    await client.set(`{${prefix}}:roster:version`, '7');
    client.destroy();
    await expect(openNode()).rejects.toMatchObject({
      code: 'ERR_JOURNAL_OPEN',
      message: `The subscriptions in Redis are in format 7, and this version knows 1: stop the nodes of the other version, then remove {${prefix}}:roster:version.`,
    });
  });
});

describe('while Redis is away', () => {
  test('a list is refused in bounded time, and nobody is taken for dead afterwards', async () => {
    const [a, b] = [await openNode(), await openNode()];
    await a.roster.note([subscriber('one', ['x'])], []);
    redis.pause();
    const began = Date.now();
    await expect(all(b.roster)).rejects.toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
    expect(Date.now() - began).toBeLessThan(5_000);
    // It is known to be away: nothing waits for it now.
    const again = Date.now();
    await expect(b.roster.get('x', 'one')).rejects.toMatchObject({
      code: 'ERR_JOURNAL_UNAVAILABLE',
      message: expect.stringMatching(/^The subscriptions cannot be read: /),
    });
    expect(Date.now() - again).toBeLessThan(1_000);
    redis.resume();
    await until(() => b.log.length === 2);
    expect(b.log).toEqual([
      'Redis does not keep the subscriptions of this node: It has not answered in time.',
      'Redis keeps the subscriptions of this node again.',
    ]);
    expect(await all(b.roster)).toEqual([entry('x', 'one')]);
    expect([a.watcher, b.watcher].map(({ expulsions, told }) => [expulsions, told])).toEqual([
      [0, []],
      [0, []],
    ]);
  });

  test('what is noted waits, and is there when it is back with its data', async () => {
    const a = await openNode();
    await a.roster.note([subscriber('one', ['x'])], []);
    await redis.kill();
    const result = a.roster.note([subscriber('two', ['x'])], [subscriber('one', ['x'])]);
    await expect(all(a.roster)).rejects.toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
    await redis.start();
    expect(await result).toMatchObject({ noted: true });
    await until(() => a.log.at(-1) === 'Redis keeps the subscriptions of this node again.');
    expect(await all(a.roster)).toEqual([entry('x', 'two')]);
    expect(a.watcher.expulsions).toBe(0);
  });

  test('a node whose data it has lost begins anew', async () => {
    const a = await openNode();
    await a.roster.note([subscriber('one', ['x'])], []);
    await redis.kill();
    await redis.wipe();
    await redis.start();
    await a.watcher.until(() => a.watcher.expulsions === 1);
    await a.roster.note([subscriber('again', ['x'])], []);
    await until(() => !a.log.at(-1)?.includes('does not keep'));
    expect(await all(a.roster)).toEqual([entry('x', 'again')]);
  });

  test('a node whose last change it has lost begins anew, and no trace of it is left', async () => {
    const [a, b] = [await openNode(), await openNode()];
    await a.roster.note([subscriber('one', ['x'])], []);
    const client = createClient({ url: redis.url });
    await client.connect();
    const [key] = await client.keys(`*nodes-${runs}}*notes*`);
    await client.hSet(key as string, 'change', 'the one before');
    client.destroy();
    await a.watcher.until(() => a.watcher.expulsions === 1);
    await Promise.race([a, b].map(({ watcher }) => watcher.until(() => watcher.told.length === 1)));
    expect([...a.watcher.names, ...b.watcher.names]).toEqual(['one']);
    expect(await all(b.roster)).toEqual([]);
  });

  test('a node that is closed leaves nothing waiting', async () => {
    const a = await openNode();
    redis.pause();
    const result = a.roster.note([subscriber('one', ['x'])], []);
    await a.roster.close();
    await expect(result).rejects.toMatchObject({ code: 'ERR_JOURNAL_CLOSED' });
  });

  test('a start is refused, with the reason and without the password', async () => {
    const url = 'redis://user:a%20secret%20word@127.0.0.1:1';
    const opened = openRedisRoster(url, { prefix });
    await expect(opened).rejects.toMatchObject({
      code: 'ERR_JOURNAL_OPEN',
      message: expect.stringMatching(/ECONNREFUSED/),
    });
    await expect(opened).rejects.not.toMatchObject({ message: expect.stringMatching(/secret/) });
    const { port } = redis;
    await expect(
      openRedisRoster(`redis://user:secret@127.0.0.1:${port}`, { prefix }),
    ).rejects.toMatchObject({
      code: 'ERR_JOURNAL_OPEN',
      message: expect.stringMatching(/WRONGPASS/),
    });
  });
});

/** Looks now and then; the test's own time limit ends it. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
}
