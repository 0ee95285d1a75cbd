import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import request from 'supertest';
import type { SubscriptionDocument } from '../src/mercure/presence.js';
import type { Service } from '../src/service.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY, startTestService } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

let redis: RedisServer;
let token: string;
let env: Record<string, string>;
const services: Service[] = [];
const clients: SseClient[] = [];
let runs = 0;

beforeAll(async () => {
  redis = await startRedis();
  token = await tokenFor();
});
afterAll(() => redis.close());
beforeEach(() => {
  jest.spyOn(console, 'error').mockImplementation(() => undefined);
  jest.spyOn(console, 'log').mockImplementation(() => undefined);
  runs += 1;
  env = {
    JOURNAL: redis.url,
    JOURNAL_PREFIX: `cluster-${runs}`,
    JWT_KEY,
    FEEDS: 'none',
    LOG_LEVEL: 'info',
    RATE_LIMITS: 'off',
    SUBSCRIPTIONS: 'true',
    SUBSCRIPTIONS_TIMEOUT: '1s',
  };
});
afterEach(async () => {
  redis.resume();
  for (const client of clients.splice(0)) client.abort();
  await killPrograms();
  await Promise.all(services.splice(0).map((service) => service.stop()));
  jest.restoreAllMocks();
});

type Node = Service | Program;

async function startNode(): Promise<Service> {
  const service = await startTestService(env);
  services.push(service);
  return service;
}

async function subscribe({ url }: Node, query: string): Promise<SseClient> {
  const client = await connect(`${url}/hub?${query}`);
  client.ended.catch(() => undefined); // Its node is killed.
  clients.push(client);
  return client;
}

/** Follows the announcements to one selector. */
function watch(node: Node, topic: string): Promise<SseClient> {
  const template = `/.well-known/mercure/subscriptions/${encodeURIComponent(topic)}{/subscriber}`;
  return subscribe(node, `topic=${encodeURIComponent(template)}&authorization=${token}`);
}

async function announced(watcher: SseClient, count: number): Promise<SubscriptionDocument[]> {
  return (await watcher.take(count)).map(({ data }) => JSON.parse(data));
}

function read({ url }: Node, path: string) {
  return request(url).get(`/hub/subscriptions${path}`).auth(token, { type: 'bearer' });
}

async function listed(node: Node, topic: string): Promise<SubscriptionDocument[]> {
  const { status, body } = await read(node, `/${encodeURIComponent(topic)}`);
  expect(status).toBe(200);
  return body.subscriptions;
}

test('three nodes answer with the same documents; when one is killed, its subscriptions end once', async () => {
  const [a, b] = [await startNode(), await startNode()];
  const c = await runProgram('dist/main.js', { env });
  const [first, second] = [await watch(a, 'news'), await watch(b, 'news')];
  for (const node of [a, b, c, c, c]) await subscribe(node, 'topic=news');
  const starts = await announced(first, 5);
  expect(await announced(second, 5)).toEqual(starts);
  for (const path of [
    '',
    '/news',
    starts[0]?.id.slice('/.well-known/mercure/subscriptions'.length),
  ]) {
    const [one, ...others] = await Promise.all([a, b, c].map((node) => read(node, path ?? '')));
    expect(one?.status).toBe(200);
    for (const { body } of others) expect(body).toEqual(one?.body);
  }
  expect(await listed(c, 'news')).toHaveLength(5);

  await c.kill('SIGKILL');
  const ends = await announced(first, 3);
  expect(await announced(second, 3)).toEqual(ends);
  expect(new Set(ends.map(({ id }) => id)).size).toBe(3);
  const remaining = starts.filter(({ id }) => ends.every((end) => end.id !== id));
  expect(remaining).toHaveLength(2);
  for (const end of ends) expect(starts).toContainEqual({ ...end, active: true });
  for (const node of [a, b]) {
    expect((await listed(node, 'news')).map(({ id }) => id).sort()).toEqual(
      remaining.map(({ id }) => id).sort(),
    );
  }
  // Whatever comes next is not one of them again.
  await subscribe(b, 'topic=news');
  expect(await announced(first, 1)).toMatchObject([{ topic: 'news', active: true }]);
});

test('the subscriptions of a node that stops end at once', async () => {
  const a = await startNode();
  const c = await runProgram('dist/main.js', { env: { ...env, SUBSCRIPTIONS_TIMEOUT: '1h' } });
  const watcher = await watch(a, 'news');
  await subscribe(c, 'topic=news');
  const [start] = await announced(watcher, 1);
  await c.kill('SIGTERM');
  expect(await announced(watcher, 1)).toEqual([{ ...start, active: false }]);
  expect(await listed(a, 'news')).toEqual([]);
});

test('while Redis stands still, lists are refused in bounded time; then they are as before', async () => {
  const [a, b] = [await startNode(), await startNode()];
  const watcher = await watch(b, 'news');
  const client = await subscribe(a, 'topic=news');
  const before = await announced(watcher, 1);
  expect(await listed(b, 'news')).toEqual(before);
  const log = jest.mocked(console.log);

  redis.pause();
  const began = Date.now();
  const refused = await read(b, '/news');
  expect([refused.status, refused.headers['retry-after']]).toEqual([503, '5']);
  expect(Date.now() - began).toBeLessThan(8_000);
  redis.resume();

  while ((await read(b, '/news')).status === 503);
  const lines = log.mock.calls.flat();
  expect(lines).toContain('Redis keeps the subscriptions of this node again.');
  expect(await listed(b, 'news')).toEqual(before);
  client.abort();
  expect(await announced(watcher, 1)).toEqual([{ ...before[0], active: false }]);
});

test('a node that is told to stop while Redis stands still stops in order, before it would be killed', async () => {
  const settings = { ...env, FEEDS: 'chat', SUBSCRIPTIONS_TIMEOUT: '30s' };
  const node = await runProgram('dist/main.js', { env: settings });
  redis.pause();
  // Its outcome is not known for seconds, and by then all connections are to be opened again.
  const publishing = fetch(`${node.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
    body: new URLSearchParams({ topic: 'news' }),
  }).catch(() => undefined);
  await wait(200);
  const began = Date.now();
  expect(await node.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  // Docker waits ten seconds.
  expect(Date.now() - began).toBeLessThan(10_000);
  expect(node.stdout()).toContain('koa-sse-hub has stopped');
  await publishing;
});
