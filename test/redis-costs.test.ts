import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import { createClient, type RedisClientType } from 'redis';
import type { Journal } from '../src/journal/journal.js';
import { openRedisJournal, type RedisJournalOptions } from '../src/journal/redis/redis.js';
import { dataOf, KEEP_ALL, NO_LIMIT, readAll, until, update } from './support/journal-contract.js';
import { type RedisServer, startRedis } from './support/redis-server.js';

const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

interface Counted {
  readonly server: RedisServer;
  readonly client: RedisClientType;
  open(options?: Partial<RedisJournalOptions>): Promise<Journal>;
  /** How often each command was called since the last time, also by scripts. */
  calls(): Promise<ReadonlyMap<string, number>>;
}

async function start(): Promise<Counted> {
  const server = await startRedis({ persistence: 'none' });
  opened.push(() => server.close());
  const client: RedisClientType = createClient({ url: server.url, RESP: 3 });
  client.on('error', () => {});
  await client.connect();
  opened.push(async () => client.destroy());
  return {
    server,
    client,
    async open(options = {}) {
      const journal = await openRedisJournal({
        ...KEEP_ALL,
        url: server.url,
        sync: 'os',
        ...options,
      });
      opened.push(() => journal.close());
      await journal.ping(); // Whatever is done first has been done.
      return journal;
    },
    async calls() {
      const info = String(await client.sendCommand(['INFO', 'commandstats']));
      await client.sendCommand(['CONFIG', 'RESETSTAT']);
      const lines = [...info.matchAll(/cmdstat_([^:]+):calls=(\d+)/g)];
      return new Map(lines.map(([, name = '', count]) => [name, Number(count)]));
    },
  };
}

test('what is appended in one turn goes to Redis in one script', async () => {
  const { open, calls } = await start();
  const journal = await open();
  await calls();
  await Promise.all(Array.from({ length: 200 }, (_, n) => journal.append([update(`${n}`)])));
  const called = await calls();
  expect(called.get('evalsha')).toBe(1);
  expect(called.get('xadd')).toBe(200);
  expect(called.get('zadd')).toBe(1);
});

test('topics that have ended cost an append to others one question, and nothing as long as there are none', async () => {
  const { open, calls } = await start();
  const journal = await open();
  const others = () =>
    journal.append(Array.from({ length: 100 }, (_, n) => update('', { topics: [`${n}`] })));
  const without = (called: ReadonlyMap<string, number>, name: string) =>
    new Map([...called].filter(([each]) => each !== name && each !== 'info'));
  await others();
  await calls();
  await others();
  const before = await calls();
  expect(before.get('hmget')).toBe(1); // The state of the journal.
  await journal.append([update('', { last: true })]);
  await calls();
  await others();
  const after = await calls();
  expect(after.get('hmget')).toBe(2);
  expect(without(after, 'hmget')).toEqual(without(before, 'hmget'));
});

test('thousands of topics end and are reopened with few commands, also if a publisher has ended many before', async () => {
  const { open, calls } = await start();
  const journal = await open();
  const some = (name: string, rest: object) =>
    journal.append(
      Array.from({ length: 5000 }, (_, n) => update('', { topics: [`${name} ${n}`], ...rest })),
    );
  await some('before', { last: true });
  await calls();
  for (const rest of [{ last: true }, { reopen: true }]) {
    await some('now', rest);
    const called = await calls();
    // Each has an entry, and each page of arguments a few commands.
    expect(called.get('xadd')).toBe(5000);
    const sum = [...called.values()].reduce((all, n) => all + n, 0) - 5000;
    expect(sum).toBeLessThan(150);
    // What it would take from the middle of a list of thousands.
    expect(called.get('lrem')).toBeUndefined();
  }
});

test("a quiet topic's replay and its newest cost what the topic has, however long the journal is", async () => {
  const { open, calls } = await start();
  const journal = await open();
  for (let n = 0; n < 10; n++) {
    await journal.append([update(`quiet ${n}`, { topics: ['quiet'] })]);
    await journal.append(Array.from({ length: 1000 }, () => update('', { topics: ['loud'] })));
  }
  await calls();
  const quiet = dataOf(await readAll(journal, { topics: ['quiet', 'none'] }));
  expect(quiet).toEqual(Array.from({ length: 10 }, (_, n) => `quiet ${n}`));
  const read = await calls();
  expect(read.get('xrange')).toBeLessThanOrEqual(10);
  expect(read.get('zrangebylex')).toBeLessThanOrEqual(2);
  await journal.newest(['quiet'], { count: 3 });
  expect((await calls()).get('xrange')).toBe(3);
});

test('what was not asked for is not sent: a read ends at the length that it may have', async () => {
  const { open, client } = await start();
  const journal = await open();
  for (let n = 0; n < 20; n++) await journal.append([update('x'.repeat(1_000_000))]);
  const sent = async (): Promise<number> =>
    Number(/total_net_output_bytes:(\d+)/.exec(String(await client.sendCommand(['INFO'])))?.[1]);
  for (const topics of [undefined, ['t']]) {
    const before = await sent();
    const { entries } = await journal.read({ ...NO_LIMIT, topics, maxLength: 1_500_000 });
    expect(entries).toHaveLength(2);
    expect((await sent()) - before).toBeLessThan(2_200_000);
  }
});

test('a node that has nothing to do asks Redis twice a second at most', async () => {
  const { open, calls } = await start();
  const journal = await open();
  await journal.follow({ entries() {}, lost() {} });
  await wait(100);
  await calls();
  await wait(2500);
  const called = await calls();
  const sum = [...called.entries()].reduce((all, [name, n]) => all + (name === 'info' ? 0 : n), 0);
  expect(sum).toBeLessThanOrEqual(10);
});

test('two nodes with the same limits keep as much as one, and each trims for both', async () => {
  const { open } = await start();
  const nodes = [await open({ maxUpdates: 10 }), await open({ maxUpdates: 10 })] as const;
  for (let n = 0; n < 40; n++) await nodes[n % 2]?.append([update(`${n}`)]);
  for (const node of nodes) {
    expect(dataOf(await readAll(node))).toEqual(Array.from({ length: 10 }, (_, n) => `${30 + n}`));
  }
});

test('where the memory of Redis is full, a node can be started that keeps less, and makes room', async () => {
  const { open, client, server } = await start();
  const journal = await open();
  await journal.append(Array.from({ length: 2000 }, () => update('x'.repeat(1000))));
  const used = /used_memory:(\d+)/.exec(String(await client.sendCommand(['INFO', 'memory'])))?.[1];
  await client.sendCommand(['CONFIG', 'SET', 'maxmemory', `${Number(used) - 500_000}`]);
  await expect(journal.append([update('a')])).rejects.toThrow(/OOM/);
  const smaller = await openRedisJournal({
    ...KEEP_ALL,
    maxUpdates: 500,
    url: server.url,
    sync: 'os',
  });
  opened.push(() => smaller.close());
  await until(async () =>
    smaller.append([update('room')]).then(
      () => true,
      () => false,
    ),
  );
  expect((await readAll(smaller)).length).toBeLessThanOrEqual(500);
});
