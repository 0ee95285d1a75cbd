import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Service } from '../src/service.js';
import { startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

let service: Service;
let publisher: string;

beforeAll(async () => {
  service = await startTestService({ SUBSCRIPTIONS: 'true' });
  publisher = await tokenFor();
});

afterAll(() => service.stop());

async function publish(fields: Record<string, string>, token = publisher): Promise<string> {
  const response = await fetch(`${service.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
    body: new URLSearchParams(fields),
  });
  expect(response.status).toBe(200);
  return response.text();
}

/** What `Last-Event-ID` answers to a guess. */
async function guess(id: string, token?: string): Promise<string | null> {
  const query = new URLSearchParams({ topic: 'doors', lastEventID: id });
  const response = await fetch(`${service.url}/hub?${query}`, {
    method: 'HEAD',
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
  });
  expect(response.status).toBe(200);
  return response.headers.get('Last-Event-ID');
}

describe('a private update', () => {
  test('is not to be told from one that never was by guessing its id', async () => {
    await publish({ topic: 'doors', id: 'code-4711', data: 'x', private: '' });
    expect(await guess('code-4711')).toBe('earliest');
    expect(await guess('code-4712')).toBe('earliest');
    const other = await tokenFor({ subscribe: ['windows'] });
    expect(await guess('code-4711', other)).toBe('earliest');
  });

  test('is found by those who may see it, whatever they ask for now', async () => {
    await publish({ topic: 'doors', id: 'seen', data: 'x', private: '' });
    expect(await guess('seen', await tokenFor({ subscribe: ['doors'] }))).toBe('seen');
  });

  test('and one of another publisher with its id are told apart by what is asked for', async () => {
    const other = await tokenFor({ publish: ['elsewhere'] });
    await publish({ topic: 'elsewhere', id: 'same', data: 'x' }, other);
    const doors = await tokenFor({ subscribe: ['doors'] });
    await publish({ topic: 'doors', data: 'before', private: '' });
    await publish({ topic: 'doors', id: 'same', data: 'x', private: '' });
    await publish({ topic: 'doors', data: 'after', private: '' });
    const client = await connect(`${service.url}/hub?topic=doors&lastEventID=same`, {
      Authorization: `Bearer ${doors}`,
    });
    expect((await client.next()).data).toBe('after');
    client.abort();
  });

  test('does not move the lastEventID of the subscriptions for those who may not see it', async () => {
    const path = '/.well-known/mercure/subscriptions';
    const token = await tokenFor({ subscribe: [path] });
    const read = async () => {
      const response = await fetch(`${service.url}${path}`, {
        headers: { Authorization: `Bearer ${token}` },
      });
      const { lastEventID } = (await response.json()) as { lastEventID: string };
      return { lastEventID, etag: response.headers.get('ETag') };
    };
    const id = await publish({ topic: 'doors', data: 'public' });
    const before = await read();
    expect(before.lastEventID).toBe(id);
    await publish({ topic: 'doors', id: 'secret', data: 'x', private: '' });
    expect(await read()).toEqual(before);
  });

  test('does not hide a change of the subscriptions from those who may read them', async () => {
    const path = '/.well-known/mercure/subscriptions';
    const headers = { Authorization: `Bearer ${await tokenFor({ subscribe: [path] })}` };
    const before = await fetch(`${service.url}${path}`, { headers });
    const etag = before.headers.get('ETag') as string;
    await before.arrayBuffer();
    const client = await connect(`${service.url}/hub?topic=news`);
    const changed = async () => {
      const response = await fetch(`${service.url}${path}`, {
        headers: { ...headers, 'If-None-Match': etag },
      });
      await response.arrayBuffer();
      return response.status === 200;
    };
    while (!(await changed())) await new Promise(setImmediate);
    client.abort();
  });
});

describe('a selector whose announcement could not be published', () => {
  test.each(['é'.repeat(400), '€'.repeat(300), `{${'a'.repeat(960)}}`])(
    'is refused when subscribing: %.3s…',
    async (selector) => {
      const response = await fetch(
        `${service.url}/hub?${new URLSearchParams({ topic: selector })}`,
      );
      expect(response.status).toBe(400);
      const { detail } = (await response.json()) as { detail: string };
      expect(detail).toMatch(/too long for its subscription to be announced.* 9\d\d bytes/s);
    },
  );

  test('is not refused up to that length, and announced', async () => {
    const selector = 'é'.repeat(150);
    const token = await tokenFor({ subscribe: ['*'] });
    const watcher = await connect(`${service.url}/hub?topic=*`, {
      Authorization: `Bearer ${token}`,
    });
    const client = await connect(`${service.url}/hub?${new URLSearchParams({ topic: selector })}`);
    for (;;) {
      const { topic, active } = JSON.parse((await watcher.next()).data) as Record<string, unknown>;
      if (topic === selector && active) break;
    }
    client.abort();
    watcher.abort();
  });
});
