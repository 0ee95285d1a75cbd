import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import Koa from 'koa';
import { createClient } from 'redis';
import request from 'supertest';
import { Hub } from '../src/hub/hub.js';
import type { Journal, Update } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { MemoryRoster } from '../src/journal/memory/roster.js';
import { openRedisRoster } from '../src/journal/redis/roster.js';
import type { Roster, RosterWatcher } from '../src/journal/roster.js';
import {
  createAuthorizer,
  mercure,
  Presence,
  readKeys,
  SUBSCRIPTIONS_PATH,
} from '../src/mercure/index.js';
import type { PresenceOptions, SubscriptionDocument } from '../src/mercure/presence.js';
import { EventStream } from '../src/sse/event-stream.js';
import { select } from '../src/topics/selection.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY, serve, type TestServer } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';
import { tokenFor } from './support/tokens.js';

/** A node that has not beaten for so long is dead. */
// Longer than a process waits for its turn on a busy machine: else a node that lives is taken for dead.
const TIMEOUT_MS = 1_500;

let redis: RedisServer;
let journal: Journal;
let token: string;
let prefix = '';
let runs = 0;
const cleanUps: (() => unknown)[] = [];

beforeAll(async () => {
  redis = await startRedis({ persistence: 'none' });
  token = await tokenFor();
});
afterAll(() => redis.close());
beforeEach(() => {
  runs += 1;
  prefix = `presence-${runs}`;
  journal = openMemoryJournal({ maxUpdates: 1_000_000, maxAgeMs: 0 });
});
afterEach(async () => {
  redis.resume();
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  await killPrograms();
});

interface Node {
  readonly url: string;
  readonly log: string[];
  readonly server: TestServer;
  /** What its announcements wait for. */
  hold: Promise<void>;
}

/** A node over the journal that all nodes of a test share. */
async function openNode(redisUrl = redis.url): Promise<Node> {
  const log: string[] = [];
  const roster = await openRedisRoster(redisUrl, { prefix, timeoutMs: TIMEOUT_MS });
  const hub = await Hub.open(journal, { transientTopics: `${SUBSCRIPTIONS_PATH}/` });
  const node = { log, hold: Promise.resolve() };
  const presence = new Presence({
    roster,
    publish: async (updates, options) => {
      await node.hold;
      return hub.publish(updates, options);
    },
    log: ({ message }) => log.push(message),
  });
  const authorizer = createAuthorizer({ keys: readKeys({ JWT_KEY }) });
  const app = new Koa({ env: 'test' });
  app.on('error', (error) => log.push(String(error)));
  const server = await serve(app.use(mercure({ hub, authorizer, presence, path: '/hub' })));
  cleanUps.push(async () => {
    presence.close();
    await server.close();
    hub.close();
    await roster.close();
  });
  return Object.assign(node, { url: server.url, server });
}

async function openDistantNode(): Promise<Node & { proxy: TcpProxy }> {
  const proxy = await startTcpProxy(redis.port);
  const node = await openNode(`redis://127.0.0.1:${proxy.port}`);
  cleanUps.push(() => proxy.close());
  return Object.assign(node, { proxy });
}

async function subscribe({ url }: { url: string }, query: string): Promise<SseClient> {
  const client = await connect(`${url}/hub?${query}`);
  cleanUps.push(() => client.abort());
  return client;
}

/** Follows all announcements, from the first on. */
function watch(node: Node): Promise<SseClient> {
  return subscribe(node, `topic=*&authorization=${token}&lastEventID=earliest`);
}

/** The next announcements, those of whoever watches left out. */
async function announced(watcher: SseClient, count: number): Promise<SubscriptionDocument[]> {
  const documents: SubscriptionDocument[] = [];
  while (documents.length < count) {
    const document = JSON.parse((await watcher.next()).data);
    if (document.topic !== '*') documents.push(document);
  }
  return documents;
}

function read({ url }: Node, path = '') {
  return request(url).get(`/hub/subscriptions${path}`).auth(token, { type: 'bearer' });
}

async function listed(node: Node, topic: string): Promise<SubscriptionDocument[]> {
  const { status, body } = await read(node, `/${encodeURIComponent(topic)}`);
  expect(status).toBe(200);
  return body.subscriptions;
}

describe('two nodes over one roster', () => {
  test('answer with the same documents, wherever the subscriber is', async () => {
    const [a, b] = [await openNode(), await openNode()];
    const bob = await tokenFor({ subscribe: ['x'], payload: { user: 'bob' } });
    await subscribe(a, `topic=news&topic=x/{y}&authorization=${bob}`);
    await subscribe(b, 'topic=news');
    const watcher = await watch(a);
    await announced(watcher, 3);

    for (const path of ['', '/news', `/${encodeURIComponent('x/{y}')}`]) {
      const [one, other] = [await read(a, path), await read(b, path)];
      expect(one.body.subscriptions.length).toBeGreaterThan(0);
      expect(other.body).toEqual(one.body);
      expect(other.headers.etag).toBe(one.headers.etag);
    }
    const [first] = await listed(a, 'x/{y}');
    expect(first).toMatchObject({ topic: 'x/{y}', active: true, payload: { user: 'bob' } });
    const path = first?.id.slice(SUBSCRIPTIONS_PATH.length);
    const [one, other] = [await read(a, path), await read(b, path)];
    expect(one.body).toMatchObject(first as object);
    expect(other.body).toEqual(one.body);
    expect((await read(b, '/news/nobody')).status).toBe(404);
  });

  test('tell a watcher on one of a subscriber on the other, from start to end', async () => {
    const [a, b] = [await openNode(), await openNode()];
    const watcher = await watch(a);
    const client = await subscribe(b, 'topic=news');
    const [start] = await announced(watcher, 1);
    expect(await listed(a, 'news')).toEqual([start]);
    client.abort();
    expect(await announced(watcher, 1)).toEqual([{ ...start, active: false }]);
    expect(await listed(a, 'news')).toEqual([]);
  });

  test('announce the ends of a third that is killed, once, and list its subscriptions no more', async () => {
    const [a, b] = [await openNode(), await openNode()];
    const child = await runProgram('test/support/presence-child.mjs', {
      args: [redis.url, prefix, String(TIMEOUT_MS)],
      env: { JWT_KEY },
    });
    const streams = await Promise.all(
      ['x', 'y', 'z'].map((topic) => connect(`${child.url}/hub?topic=news&topic=${topic}`)),
    );
    for (const { ended } of streams) ended.catch(() => undefined);
    await until(async () => (await listed(a, 'news')).length === 3);
    const before = await listed(b, 'news');
    const watcher = await watch(a);

    const killed = Date.now();
    await child.kill('SIGKILL');
    const ends = await announced(watcher, 6);
    expect(Date.now() - killed).toBeLessThan(10 * TIMEOUT_MS);
    expect(ends.every(({ active }) => !active)).toBe(true);
    expect(new Set(ends.map(({ id }) => id)).size).toBe(6);
    expect(ends).toEqual(
      expect.arrayContaining(before.map((document) => ({ ...document, active: false }))),
    );
    expect([await listed(a, 'news'), await listed(b, 'news')]).toEqual([[], []]);
    // Both nodes look again, and find nothing.
    await new Promise((resolve) => setTimeout(resolve, 2 * TIMEOUT_MS));
    const sentinel = await subscribe(b, 'topic=sentinel');
    expect(await announced(watcher, 1)).toMatchObject([{ topic: 'sentinel' }]);
    sentinel.abort();
  });

  test('tell of a node that was cut off that its subscriptions have ended, and begun when it is back', async () => {
    const [a, b] = [await openDistantNode(), await openNode()];
    const watcher = await watch(b);
    const client = await subscribe(a, 'topic=news');
    const [start] = await announced(watcher, 1);
    a.proxy.hold();
    expect(await announced(watcher, 1)).toEqual([{ ...start, active: false }]);
    expect(await listed(b, 'news')).toEqual([]);

    await a.proxy.heal();
    const [again] = await announced(watcher, 1);
    expect(again).toMatchObject({ topic: 'news', active: true });
    expect(again?.subscriber).not.toBe(start?.subscriber);
    expect(await listed(b, 'news')).toEqual([again]);
    client.abort();
    expect(await announced(watcher, 1)).toEqual([{ ...again, active: false }]);
  });
});

describe('what a node has left', () => {
  const entry = (subscriber: string) => ({ selector: 'x', subscriber });
  const departure = {
    key: 'change',
    ended: [entry('ended')],
    active: [entry('active')],
    otherKey: 'other',
  };
  const noted = { key: { key: 'change', digest: 'noted', publisher: 'subscriptions' } };
  let hub: Hub;

  /** The presence of a node, as its roster tells it of others. */
  function watcherOfNode(): RosterWatcher {
    const watchers: RosterWatcher[] = [];
    const roster: Roster = Object.assign(new MemoryRoster(), {
      watch: (watcher: RosterWatcher) => watchers.push(watcher),
    });
    const publish: PresenceOptions['publish'] = (...given) => hub.publish(...given);
    const presence = new Presence({ publish, roster });
    cleanUps.push(() => presence.close());
    return watchers[0] as RosterWatcher;
  }

  beforeEach(async () => {
    hub = await Hub.open(journal);
  });

  async function announcedEnds(): Promise<string[]> {
    const { entries } = await journal.read({ maxEntries: 100, maxLength: 100_000 });
    return entries.map(({ data }) => JSON.parse(data)).map(({ subscriber }) => subscriber);
  }

  test('is announced once, however often and by how many it is taken over', async () => {
    const [one, other] = [watcherOfNode(), watcherOfNode()];
    for (const watcher of [one, one, other]) await watcher.left(departure);
    expect(await announcedEnds()).toEqual(['ended', 'active']);
  });

  test('is announced but for what the node has announced itself', async () => {
    const update = { topics: ['x'], data: '{"subscriber":"ended"}', private: true };
    await hub.publish([update], noted);
    const watcher = watcherOfNode();
    for (let n = 0; n < 2; n++) await watcher.left(departure);
    expect(await announcedEnds()).toEqual(['ended', 'active']);
  });

  test('is not announced by the node that was taken for dead, when it is back', async () => {
    const late = await openDistantNode();
    const b = await openNode();
    const watcher = await watch(b);
    let goOn: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    late.hold = held;
    const client = await subscribe(late, 'topic=news');
    await until(async () => (await listed(b, 'news')).length === 1);
    const [before] = await listed(b, 'news');
    late.proxy.hold();
    expect(await announced(watcher, 1)).toEqual([{ ...before, active: false }]);
    goOn(); // It publishes the start only now.
    await late.proxy.heal();
    const [again] = await announced(watcher, 1);
    expect(again).toMatchObject({ topic: 'news', active: true });
    expect(again?.subscriber).not.toBe(before?.subscriber);
    client.abort();
    expect(await announced(watcher, 1)).toEqual([{ ...again, active: false }]);
  });
});

describe('while the roster is away', () => {
  test('streams go on and begin, and the lists are refused until it is back', async () => {
    const node = await openDistantNode();
    const [before] = [await subscribe(node, 'topic=news')];
    await until(async () => (await listed(node, 'news')).length === 1);
    await node.proxy.cut();

    const during = await subscribe(node, 'topic=news');
    const { status } = await request(node.url)
      .post('/hub')
      .type('form')
      .auth(token, { type: 'bearer' })
      .send({ topic: 'news', data: 'hello' });
    expect(status).toBe(200);
    for (const client of [before, during]) expect((await client.next()).data).toBe('hello');
    for (const path of ['', '/news', '/news/nobody']) {
      const refused = await read(node, path);
      expect([refused.status, refused.headers['retry-after']]).toEqual([503, '5']);
      expect(refused.body.detail).toMatch(/^The subscriptions cannot be read: /);
    }

    await node.proxy.heal();
    await until(async () => (await read(node, '/news')).status === 200);
    await until(async () => (await listed(node, 'news')).length === 2);
  });

  test('a subscription that has begun and ended meanwhile is not announced', async () => {
    const node = await openDistantNode();
    const watcher = await watch(node);
    await node.proxy.cut();
    const first = await subscribe(node, 'topic=first');
    const second = await subscribe(node, 'topic=second');
    second.abort();
    first.abort();
    await subscribe(node, 'topic=third');
    await node.proxy.heal();
    // The first was under way already when it ended.
    const topics = (await announced(watcher, 1)).map(({ topic }) => topic);
    expect(topics).not.toContain('second');
    await until(async () => (await read(node)).status === 200);
    await until(async () => (await listed(node, 'third')).length === 1);
    expect(await listed(node, 'first')).toEqual([]);
  });
});

describe('presence', () => {
  let published: Update[];
  let publishing: Promise<void>;

  beforeEach(() => {
    published = [];
    publishing = Promise.resolve();
  });

  function open(roster?: Roster): Presence {
    const log: string[] = [];
    const presence = new Presence({
      ...(roster && { roster }),
      log: ({ message }) => log.push(message),
      publish: async (updates) => {
        await publishing;
        published.push(...updates);
        return [];
      },
    });
    cleanUps.push(() => presence.close());
    return presence;
  }

  function start(presence: Presence, topics: string[], isAnonymous = true): EventStream {
    const stream = new EventStream();
    const { selectors } = select(topics);
    presence.start(stream, selectors, isAnonymous ? undefined : { payload: undefined });
    return stream;
  }

  async function count(presence: Presence): Promise<number> {
    let total = 0;
    for await (const page of presence.list()) total += page.length;
    return total;
  }

  test('is never older than the newest announcement', async () => {
    const lists: string[][] = [];
    const presence: Presence = new Presence({
      publish: async () => {
        const topics: string[] = [];
        for await (const page of presence.list()) topics.push(...page.map(({ topic }) => topic));
        lists.push(topics);
        return [];
      },
    });
    const stream = start(presence, ['news']);
    await until(() => lists.length === 1);
    stream.destroy();
    await until(() => lists.length === 2);
    expect(lists).toEqual([['news'], []]);
  });

  test('is announced a few clients at a time while that takes long, and many at once while it does not', async () => {
    const sizes: number[] = [];
    let longMs = 50;
    const presence = new Presence({
      publish: async (updates) => {
        sizes.push(updates.length);
        return [];
      },
      delivered: () => new Promise((resolve) => setTimeout(resolve, longMs)),
    });
    cleanUps.push(() => presence.close());
    const announced = () => sizes.reduce((sum, size) => sum + size, 0);
    const subscribe = (clients: number) => {
      for (let n = 0; n < clients; n++) start(presence, ['a', 'b', 'c', 'd', 'e']);
    };
    subscribe(100);
    await until(() => announced() > 250);
    expect(sizes.slice(0, 5)).toEqual([100, 50, 25, 10, 5]);
    longMs = 0;
    subscribe(1_000);
    await until(() => announced() === 5_500);
    expect(Math.max(...sizes)).toBe(500);
  });

  test('of 10,000 strangers costs Redis some dozens of calls', async () => {
    const roster = await openRedisRoster(redis.url, { prefix });
    cleanUps.push(() => roster.close());
    const client = createClient({ url: redis.url });
    await client.connect();
    cleanUps.push(() => client.destroy());
    const calls = async () => {
      const stats = String(await client.sendCommand(['INFO', 'commandstats']));
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0);
    };
    const presence = open(roster);
    const before = await calls();
    const streams = Array.from({ length: 10_000 }, () => start(presence, ['news']));
    await until(() => published.length === 10_000);
    expect((await calls()) - before).toBeLessThan(100);
    expect(await count(presence)).toBe(10_000);

    const again = await calls();
    for (const stream of streams) stream.destroy();
    await until(() => published.length === 20_000);
    expect((await calls()) - again).toBeLessThan(100);
    expect(await count(presence)).toBe(0);
  });

  test('announces no more than 100,000 starts that wait, and lists the others', async () => {
    let goOn: () => void = () => undefined;
    publishing = new Promise((resolve) => {
      goOn = resolve;
    });
    const presence = open();
    const topics = Array.from({ length: 100 }, (_, n) => `topic ${n}`);
    const streams = Array.from({ length: 1_100 }, () => start(presence, topics, false));
    goOn();
    await until(async () => (await count(presence)) === 110_000);
    await until(() => published.length >= 100_000);
    for (const stream of streams) stream.destroy();
    await until(async () => (await count(presence)) === 0);
    const starts = published.filter(({ data }) => JSON.parse(data).active).length;
    expect(starts).toBeGreaterThanOrEqual(100_000);
    expect(starts).toBeLessThanOrEqual(100_600);
  });

  test('lists a bounded number of bytes of strangers, and everybody with a token', async () => {
    const presence = open();
    const topics = Array.from({ length: 100 }, (_, n) => `${n}${'x'.repeat(800)}`);
    const streams = Array.from({ length: 500 }, () => start(presence, topics));
    const known = start(presence, ['known'], false);
    await until(async () => (await count(presence)) > 30_000);
    const bytes = (await count(presence)) * 900;
    expect(bytes).toBeGreaterThan(30 * 1024 * 1024);
    expect(bytes).toBeLessThan(34 * 1024 * 1024);

    for (const stream of streams) stream.destroy();
    await until(async () => (await count(presence)) === 1);
    start(presence, topics);
    await until(async () => (await count(presence)) === 101);
    known.destroy();
  });
});

/** Looks now and then; the test's own time limit ends it. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}
