import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Service } from '../src/service.js';
import { startTestService } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const services: Service[] = [];
const streams: SseClient[] = [];
let token: string;

beforeAll(async () => {
  token = await tokenFor();
});

afterEach(async () => {
  for (const stream of streams.splice(0)) stream.abort();
  await Promise.all(services.splice(0).map((service) => service.stop()));
});

/** A service with two updates of `news`, and their ids. */
async function start(ANONYMOUS: string) {
  const service = await startTestService({ ANONYMOUS, LOG_LEVEL: 'error' });
  services.push(service);
  const publish = async (data: string) => {
    const response = await fetch(`${service.url}/hub`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}` },
      body: new URLSearchParams({ topic: 'news', data }),
    });
    return response.text();
  };
  const subscribe = async (query: string, headers: Record<string, string> = {}) => {
    const client = await connect(`${service.url}/hub?${query}`, headers);
    streams.push(client);
    return client;
  };
  const ids = [await publish('one'), await publish('two')] as const;
  return { service, publish, subscribe, ids };
}

const bearer = () => ({ Authorization: `Bearer ${token}` });

async function expectNeedsToken(response: Response, what: string) {
  expect(response.status).toBe(401);
  expect(response.headers.get('www-authenticate')).toBe('Bearer realm="koa-sse-hub"');
  expect(await response.json()).toEqual({
    title: 'Unauthorized',
    status: 401,
    detail: `${what} needs a token: send it as Authorization: Bearer TOKEN.`,
  });
}

describe('ANONYMOUS', () => {
  test.each(['GET', 'HEAD'])('no-templates: a template needs a token (%s)', async (method) => {
    const { service, subscribe } = await start('no-templates');
    const response = await fetch(`${service.url}/hub?topic=news&topic=n%7Bx%7D`, { method });
    if (method === 'GET') await expectNeedsToken(response, 'Subscribing with a URI template');
    else expect(response.status).toBe(401);
    const granted = await subscribe('topic=n%7Bx%7D&lastEventID=earliest', bearer());
    expect((await granted.take(2)).map(({ data }) => data)).toEqual(['one', 'two']);
  });

  test('no-templates: topics, *, and braces that are no template need none', async () => {
    const { subscribe } = await start('no-templates');
    for (const query of ['topic=news', 'topic=*', 'topic=%7Bnot%20a%20template']) {
      expect((await subscribe(query)).response.statusCode).toBe(200);
    }
  });

  test('no-latest: latest=1 needs a token', async () => {
    const { service, subscribe } = await start('no-latest');
    await expectNeedsToken(
      await fetch(`${service.url}/hub?topic=news&latest=1`),
      'Subscribing with latest=1',
    );
    const granted = await subscribe('topic=news&latest=1', bearer());
    expect((await granted.next()).data).toBe('two');
    const replayed = await subscribe('topic=news&lastEventID=earliest');
    expect((await replayed.next()).data).toBe('one');
  });

  test.each(['the header', 'the query', 'earliest'])(
    'no-replay: a cursor in %s opens the stream from now on, after a gap',
    async (where) => {
      const { publish, subscribe, ids } = await start('no-replay');
      const cursor = where === 'earliest' ? where : ids[0];
      const inHeader = where === 'the header';
      const client = await subscribe(
        inHeader ? 'topic=news' : `topic=news&lastEventID=${cursor}`,
        inHeader ? { 'Last-Event-ID': cursor } : {},
      );
      expect(client.response.statusCode).toBe(200);
      expect(client.response.headers['last-event-id']).toBeUndefined();
      const gap = await client.next();
      expect(gap).toMatchObject({ event: 'gap' });
      expect(JSON.parse(gap.data)).toEqual({
        lastEventID: cursor,
        oldest: null,
        reason: 'withheld',
      });
      const third = await publish('three');
      expect(await client.next()).toMatchObject({ id: third, data: 'three' });
      expect(client.bytes().toString()).toMatch(new RegExp(`^id: ${ids[1]}\n\nevent: gap\n`));
    },
  );

  test('no-replay: a token replays, and a client without a cursor gets no gap', async () => {
    const { publish, subscribe, ids } = await start('no-replay');
    const granted = await subscribe('topic=news', { ...bearer(), 'Last-Event-ID': ids[0] });
    expect(await granted.next()).toMatchObject({ id: ids[1], data: 'two' });
    const fresh = await subscribe('topic=news');
    await publish('three');
    expect(await fresh.next()).toMatchObject({ data: 'three' });
  });

  test('no-replay: latest=1 still gives the newest, to a client with a cursor too', async () => {
    const { subscribe, ids } = await start('no-replay');
    const client = await subscribe('topic=news&latest=1', { 'Last-Event-ID': ids[0] });
    const events = await client.take(2);
    expect(events.map(({ event, data }) => event ?? data)).toEqual(['gap', 'two']);
  });

  test('any combination, separated by spaces or commas', async () => {
    const { service, subscribe } = await start('no-replay, no-templates no-latest');
    expect((await fetch(`${service.url}/hub?topic=n%7Bx%7D`)).status).toBe(401);
    expect((await fetch(`${service.url}/hub?topic=news&latest=1`)).status).toBe(401);
    const client = await subscribe('topic=news&lastEventID=earliest');
    expect((await client.next()).event).toBe('gap');
  });
});
