import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { type Cluster, type ClusterNode, closeClusters, startCluster } from './support/cluster.js';
import { JWT_KEY } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

/** What fails here fails for seconds, and three processes are started. */
jest.setTimeout(60_000);

let cluster: Cluster;
let token: string;

beforeAll(async () => {
  token = await tokenFor();
  cluster = await startCluster({
    nodes: 3,
    env: { JWT_KEY, HEARTBEAT_MS: '250', RATE_CHAT: 'off' },
  });
});
afterAll(closeClusters);

/** A new topic for each test: they share the cluster. */
let topics = 0;
function newTopic(): string {
  topics += 1;
  return `https://example.com/${topics}`;
}

function publish(
  { url }: { url: string },
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}`, ...headers },
    body: new URLSearchParams(fields),
  });
}

/** Publishes what has to succeed; resolves with its id. */
async function publishAt(node: { url: string }, topic: string, data: string): Promise<string> {
  const answer = await publish(node, { topic, data });
  const text = await answer.text();
  expect({ status: answer.status, text }).toEqual({ status: 200, text: expect.any(String) });
  return text;
}

/** Publishes the same again until it is published, as a publisher does who was told to come back. */
async function publishAtLast(node: { url: string }, topic: string, data: string): Promise<string> {
  const key = `${topic} ${data}`;
  for (;;) {
    const answer = await publish(node, { topic, data }, { 'Idempotency-Key': key });
    const text = await answer.text();
    if (answer.status === 200) return text;
    expect(answer.status).toBe(503);
  }
}

function subscribe(
  { url }: { url: string },
  topic: string,
  { lastEventId, authorized = false }: { lastEventId?: string; authorized?: boolean } = {},
): Promise<SseClient> {
  return connect(`${url}/hub?topic=${encodeURIComponent(topic)}`, {
    ...(lastEventId !== undefined && { 'Last-Event-ID': lastEventId }),
    ...(authorized && { Authorization: `Bearer ${token}` }),
  });
}

function atEveryNode<T>(act: (node: ClusterNode, index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(cluster.nodes.map(act));
}

describe('several nodes over one Redis', () => {
  test('deliver what is published at any of them, in the same order and under the same ids', async () => {
    const topic = newTopic();
    const clients = await atEveryNode((node) => subscribe(node, topic));
    const ids: string[] = [];
    for (const node of [...cluster.nodes, ...cluster.nodes]) {
      ids.push(await publishAt(node, topic, `at ${node.name}`));
    }
    for (const client of clients) {
      const events = await client.take(ids.length);
      expect(events.map(({ id }) => id)).toEqual(ids);
      client.abort();
    }
  });

  test('go on from the same Last-Event-ID, whichever of them a client comes back to', async () => {
    const topic = newTopic();
    const ids: string[] = [];
    for (let count = 0; count < 10; count++) {
      ids.push(await publishAt(cluster.nginx, topic, String(count)));
    }
    await atEveryNode(async (node) => {
      const client = await subscribe(node, topic, { lastEventId: ids[3] as string });
      expect((await client.take(6)).map(({ id }) => id)).toEqual(ids.slice(4));
      client.abort();
    });
  });

  test('repeat nothing to a client that is sooner at another node than the update that it has', async () => {
    const topic = newTopic();
    const [here, there] = cluster.nodes as [ClusterNode, ClusterNode];
    for (let count = 0; count < 20; count++) {
      const lastEventId = await publishAt(here, topic, `${count} a`);
      const [client, id] = await Promise.all([
        subscribe(there, topic, { lastEventId }),
        publishAt(here, topic, `${count} b`),
      ]);
      expect(await client.next()).toMatchObject({ data: `${count} b`, id });
      client.abort();
    }
  });

  test('answer a retry under the same Idempotency-Key as another one has answered', async () => {
    const topic = newTopic();
    const [one, two, three] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode];
    const key = { 'Idempotency-Key': topic };
    const first = await publish(one, { topic, data: 'once' }, key);
    const again = await publish(two, { topic, data: 'once' }, key);
    const other = await publish(three, { topic, data: 'twice' }, key);
    expect([first.status, again.status, other.status]).toEqual([200, 200, 422]);
    const id = await first.text();
    expect(await again.text()).toBe(id);

    // And with an id of its own.
    const own = { topic, data: 'own', id: `own:${topic}` };
    expect((await publish(two, own)).status).toBe(200);
    expect((await publish(three, own)).status).toBe(200);
    expect((await publish(one, { ...own, data: 'another' })).status).toBe(422);
    const end = await publishAt(three, topic, 'end');
    const client = await subscribe(one, topic, { lastEventId: 'earliest' });
    expect((await client.take(3)).map((event) => event.id)).toEqual([id, own.id, end]);
    client.abort();
  });

  test('tell a private update to nobody without a grant, live or replayed', async () => {
    const topic = newTopic();
    const [one, two, three] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode];
    const without = await subscribe(two, topic);
    const granted = await subscribe(two, topic, { authorized: true });
    await publish(one, { topic, data: 'secret', private: 'on' });
    await publish(one, { topic, data: 'public' });
    expect((await granted.take(2)).map(({ data }) => data)).toEqual(['secret', 'public']);
    expect((await without.next()).data).toBe('public');
    const replayed = await subscribe(three, topic, { lastEventId: 'earliest' });
    expect((await replayed.next()).data).toBe('public');
    for (const client of [without, granted, replayed]) client.abort();
  });

  test('have the same chat', async () => {
    const [one, two, three] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode];
    const post = ({ url }: ClusterNode, user: string, message: string) =>
      fetch(`${url}/message?id=${user}`, {
        method: 'POST',
        body: new URLSearchParams({ message }),
      });
    expect((await post(one, 'ada', 'Hello')).status).toBe(200);
    expect((await post(two, 'bob', 'Hi')).status).toBe(200);
    const expected = [
      { user_id: 'ada', message: 'Hello' },
      { user_id: 'bob', message: 'Hi' },
    ];
    const reader = await connect(`${three.url}/messages`);
    let list: unknown;
    while (JSON.stringify(list) !== JSON.stringify(expected)) {
      list = JSON.parse((await reader.next()).data);
    }
    reader.abort();
  });
});

describe('while Redis is away', () => {
  const outages: [name: string, begin: () => unknown, end: () => unknown][] = [
    ['killed', () => cluster.redis.kill(), () => cluster.redis.start()],
    ['stopped', () => cluster.redis.stop(), () => cluster.redis.start()],
    ['frozen', () => cluster.redis.pause(), () => cluster.redis.resume()],
    ['cut off', () => cluster.network.cut(), () => cluster.network.heal()],
    ['silent', () => cluster.network.hold(), () => cluster.network.heal()],
  ];

  test.each(outages)(
    '(%s) publishing is 503 with Retry-After in bounded time, streams stay open, and nobody misses anything',
    async (_, begin, end) => {
      const topic = newTopic();
      const clients = await atEveryNode((node) => subscribe(node, topic));
      const before = await publishAt(cluster.nginx, topic, 'before');
      for (const client of clients) expect((await client.next()).id).toBe(before);

      await begin();
      const begun = performance.now();
      await atEveryNode(async (node, index) => {
        const answer = await publish(
          node,
          { topic, data: `at ${node.name}` },
          { 'Idempotency-Key': `${topic} at ${node.name}` },
        );
        expect(answer.status).toBe(503);
        expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
        expect(answer.headers.get('content-type')).toBe('application/problem+json');
        // The health check says why.
        const health = await fetch(`${node.url}/health`);
        expect(health.status).toBe(503);
        expect(((await health.json()) as { detail: string }).detail).toMatch(/journal/i);
        // Its streams are as alive as before.
        for (let count = 0; count < 3; count++) await clients[index]?.nextComment();
        // A client that comes in the meantime is not kept waiting for ever either.
        const late = await subscribe(node, topic, { lastEventId: before });
        expect([200, 503]).toContain(late.response.statusCode);
        late.abort();
      });
      expect(performance.now() - begun).toBeLessThan(15_000);

      await end();
      const ids = [before];
      for (const node of cluster.nodes) {
        ids.push(await publishAtLast(node, topic, `at ${node.name}`));
      }
      // What a node could not be sure of may be published before what another one was.
      for (const client of clients) {
        const events = await client.take(ids.length - 1);
        expect(new Set(events.map(({ id }) => id))).toEqual(new Set(ids.slice(1)));
        expect(events.map(({ event }) => event)).toEqual([undefined, undefined, undefined]);
        client.abort();
      }
      const replayed = await subscribe(cluster.nginx, topic, { lastEventId: 'earliest' });
      expect(new Set((await replayed.take(ids.length)).map(({ id }) => id))).toEqual(new Set(ids));
      replayed.abort();
      for (const { crashes } of cluster.nodes) expect(crashes).toEqual([]);
    },
  );
});

describe('a node that is killed', () => {
  test('leaves its clients to the others, who miss nothing and get nothing twice', async () => {
    const topic = newTopic();
    const received = await Promise.all(
      Array.from({ length: 30 }, async () => {
        const ids: string[] = [];
        let client = await subscribe(cluster.nginx, topic);
        const reading = (async () => {
          for (;;) {
            try {
              const { id = '', data, event } = await client.next();
              expect(event).toBeUndefined();
              ids.push(id);
              if (data === 'end') return;
            } catch {
              // An EventSource does the same with a connection that is broken.
              client = await subscribe(cluster.nginx, topic, {
                lastEventId: ids.at(-1) ?? 'earliest',
              }).catch(() => client);
            }
          }
        })();
        return { ids, reading };
      }),
    );
    const [victim] = cluster.nodes as [ClusterNode];
    const ids: string[] = [];
    for (let count = 0; count < 30; count++) {
      if (count === 10) await victim.kill();
      ids.push(await publishAtLast(cluster.nginx, topic, String(count)));
    }
    await victim.start();
    ids.push(await publishAtLast(victim, topic, 'end'));
    for (const client of received) {
      await client.reading;
      expect(client.ids).toEqual(ids);
    }
  });
});
