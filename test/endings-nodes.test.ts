import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Hub, openJournal } from '../src/hub/index.js';
import type { Service } from '../src/service.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

let redis: RedisServer;
let nodes: Service[];
let token: string;

beforeAll(async () => {
  redis = await startRedis();
  token = await tokenFor();
  const env = { JOURNAL: redis.url, FEEDS: 'none' };
  nodes = await Promise.all([startTestService(env), startTestService(env)]);
});

afterAll(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await redis.close();
});

type Fields = Record<string, string>;

async function post(node: Service, fields: Fields) {
  const response = await fetch(`${node.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
    body: new URLSearchParams(fields),
  });
  return { status: response.status, text: await response.text() };
}

const urlOf = ({ url }: Service, fields: Fields): string =>
  `${url}/hub?${new URLSearchParams(fields)}`;

async function comeBack(node: Service, fields: Fields): Promise<number> {
  const response = await fetch(urlOf(node, fields));
  await response.body?.cancel();
  return response.status;
}

test('an end that is published on one of several nodes ends the streams of all', async () => {
  const [first, second] = nodes as [Service, Service];
  const clients = await Promise.all(
    [first, second, second].map((node) => connect(urlOf(node, { topic: 'a' }))),
  );
  const { text: last } = await post(first, { topic: 'a', data: 'the end', last: '' });
  for (const client of clients) {
    expect(await client.next()).toEqual({ id: last, event: undefined, data: 'the end' });
    await client.ended;
  }
  for (const node of nodes) {
    expect(await comeBack(node, { topic: 'a', lastEventID: last })).toBe(204);
    expect((await post(node, { topic: 'a' })).status).toBe(409);
  }
});

test('a client is told at once on a node that has not heard of the end, and a new node knows it', async () => {
  const [first, second] = nodes as [Service, Service];
  for (let n = 0; n < 50; n += 1) {
    const topic = `many/${n}`;
    const { text: last } = await post(first, { topic, last: '' });
    expect(await comeBack(second, { topic, lastEventID: last })).toBe(204);
    const { text: again } = await post(second, { topic, reopen: '' });
    const client = await connect(urlOf(first, { topic, lastEventID: again }));
    expect(client.response.statusCode).toBe(200);
    client.abort();
  }
  await post(first, { topic: 'many/0', last: '' });
  const journal = await openJournal(redis.url);
  const hub = await Hub.open(journal);
  expect(hub.hasEnded('a')).toBe(true);
  expect(hub.hasEnded('many/0')).toBe(true);
  expect(hub.hasEnded('many/1')).toBe(false);
  hub.close();
  await journal.close();
});

test('what one node streams is read on the others in order and once, and ends there', async () => {
  const journal = await openJournal(redis.url);
  const hub = await Hub.open(journal);
  const client = await connect(urlOf(nodes[0] as Service, { topic: 'text' }));
  async function* source() {
    for (let n = 0; n < 200; n += 1) {
      yield String(n);
      if (n % 7 === 0) await new Promise(setImmediate);
    }
  }
  const streamed = hub.stream('text', source());
  const events = await client.take(201);
  await client.ended;
  expect(events.map(({ data }) => data)).toEqual([
    ...Array.from({ length: 200 }, (_, n) => String(n)),
    '',
  ]);
  expect(events.at(-1)?.id).toBe((await streamed).last.id);
  hub.close();
  await journal.close();
});
