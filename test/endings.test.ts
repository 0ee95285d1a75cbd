import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { EventSource } from 'eventsource';
import Koa from 'koa';
import { Hub, openJournal, select } from '../src/hub/index.js';
import { sse } from '../src/index.js';
import type { Service } from '../src/service.js';
import { serve, startTestService } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

let service: Service;
/** A token that may do everything. */
let token: string;

beforeAll(async () => {
  token = await tokenFor();
});

beforeEach(async () => {
  service = await startTestService();
});

afterEach(() => service.stop());

type Fields = Record<string, string>;

const bearer = (of: string): Fields => ({ Authorization: `Bearer ${of}` });

const urlOf = (fields: Fields): string => `${service.url}/hub?${new URLSearchParams(fields)}`;

/** Publishes as a form, or as another type what is a text. */
async function post(body: Fields | string, headers: Fields = {}) {
  const type = typeof body === 'string' ? { 'Content-Type': 'application/json' } : {};
  return fetch(`${service.url}/hub`, {
    method: 'POST',
    headers: { ...bearer(token), ...type, ...headers },
    body: typeof body === 'string' ? body : new URLSearchParams(body),
  });
}

async function publish(body: Fields | string, headers?: Fields): Promise<string> {
  const response = await post(body, headers);
  const text = await response.text();
  expect([response.status, text]).toEqual([200, text]);
  return text;
}

/** Publishes what ends a topic, and waits until it is delivered: a client that has it waits as well. */
async function publishLast(fields: Fields & { topic: string }, headers: Fields = {}) {
  const id = await publish({ ...fields, last: '' }, headers);
  expect(await comeBack({ topic: fields.topic, lastEventID: id }, bearer(token), 'HEAD')).toBe(204);
  return id;
}

function subscribe(fields: Fields, headers?: Fields): Promise<SseClient> {
  return connect(urlOf(fields), headers);
}

/** The status with which a client is answered that comes with this id. */
async function comeBack(fields: Fields, headers: Fields = {}, method = 'GET'): Promise<number> {
  const response = await fetch(urlOf(fields), { method, headers });
  await response.body?.cancel();
  return response.status;
}

describe('a topic that has ended', () => {
  test.each<[string, (topic: string) => Promise<unknown>]>([
    ['a form', (topic) => publish({ topic, data: '1', last: 'on' })],
    ['JSON', (topic) => publish(`{"topic":"${topic}","data":"1","last":true}`)],
    [
      'NDJSON',
      (topic) =>
        publish(`{"topic":"b"}\n{"topic":"${topic}","data":"1","last":true}`, {
          'Content-Type': 'application/x-ndjson',
        }),
    ],
  ])(
    'by the mark of %s ends its streams, and those who come back are answered 204',
    async (_, end) => {
      const client = await subscribe({ topic: 'a' });
      await end('a');
      const { id = '', data } = await client.next();
      await client.ended;
      expect(data).toBe('1');

      const response = await fetch(urlOf({ topic: 'a' }), { headers: { 'Last-Event-ID': id } });
      expect(response.status).toBe(204);
      expect(await response.text()).toBe('');
      expect(response.headers.get('Cache-Control')).toBe('no-store');
      expect(response.headers.get('Access-Control-Allow-Origin')).toBe('*');
      for (const name of ['Content-Type', 'Last-Event-ID', 'X-Accel-Buffering']) {
        expect([name, response.headers.get(name)]).toEqual([name, null]);
      }
      expect(await comeBack({ topic: 'a', lastEventID: id }, {}, 'HEAD')).toBe(204);
      expect(await comeBack({ topic: 'a' }, {}, 'HEAD')).toBe(200);
    },
  );

  test('is told in full to those who come later, and then ends', async () => {
    const first = await publish({ topic: 'a', data: '1' });
    const last = await publishLast({ topic: 'a', type: 'end', data: '2', id: 'mine' });
    expect(last).toBe('mine');
    for (const [fields, count] of [
      [{ topic: 'a' }, 2],
      [{ topic: 'a', lastEventID: 'earliest' }, 2],
      [{ topic: 'a', lastEventID: first }, 1],
      [{ topic: 'a', latest: '1' }, 1],
    ] as const) {
      const client = await subscribe(fields);
      await client.ended;
      const events = await client.take(count);
      expect(events.at(-1)).toEqual({ id: 'mine', event: 'end', data: '2' });
      await expect(client.next()).rejects.toThrow('has ended');
    }
    expect(await comeBack({ topic: 'a', lastEventID: 'mine' })).toBe(204);
  });

  test('takes updates only to reopen it, and then goes on', async () => {
    const last = await publish({ topic: 'a', data: '1', last: '' }, { 'Idempotency-Key': 'k' });
    const ndjson = { 'Content-Type': 'application/x-ndjson' };
    for (const response of [
      await post({ topic: 'a', data: '2' }),
      await post('{"topic":["b","a"],"reopen":false}'),
      await post('{"topic":"b"}\n{"topic":"a"}', ndjson),
    ]) {
      expect([response.status, await response.json()]).toEqual([
        409,
        {
          title: 'Conflict',
          status: 409,
          detail: expect.stringMatching(/^The topic "a" has ended: .*reopen/),
        },
      ]);
      expect(response.headers.get('Content-Type')).toMatch(/^application\/problem\+json/);
    }
    // The repeat of a publish that was answered is answered as before.
    expect(await publish({ topic: 'a', data: '1', last: '' }, { 'Idempotency-Key': 'k' })).toBe(
      last,
    );

    await publish('{"topic":"a","data":"2","reopen":true}');
    await publish({ topic: 'a', data: '3' });
    const client = await subscribe({ topic: 'a', lastEventID: last });
    expect((await client.take(2)).map(({ data }) => data)).toEqual(['2', '3']);
    await publish({ topic: 'a', data: '4', reopen: '', last: '' });
    await client.ended;
    expect((await client.next()).data).toBe('4');
  });

  test('is not marked by what is no boolean', async () => {
    for (const field of ['last', 'reopen']) {
      for (const value of ['"true"', '1', 'null']) {
        const response = await post(`{"topic":"a","${field}":${value}}`);
        expect([response.status, (await response.json()).detail]).toEqual([
          400,
          `${field} must be true or false.`,
        ]);
      }
    }
    const response = await post('{"topic":"b"}\n{"topic":"a","last":"yes"}', {
      'Content-Type': 'application/x-ndjson',
    });
    expect((await response.json()).detail).toBe('line 2: last must be true or false.');
  });

  test('stops an EventSource for good, when it has come back once', async () => {
    const answers: number[] = [];
    const source = new EventSource(urlOf({ topic: 'a' }), {
      fetch: async (url, options) => {
        const response = await fetch(url, options);
        answers.push(response.status);
        return response;
      },
    });
    const data: string[] = [];
    source.addEventListener('message', (event) => data.push(event.data));
    await new Promise((resolve) => source.addEventListener('open', resolve, { once: true }));
    await publish({ topic: 'a', data: '1', retry: '10' });
    await publish({ topic: 'a', data: '2', last: '' });
    while (source.readyState !== EventSource.CLOSED) {
      await new Promise((resolve) => source.addEventListener('error', resolve, { once: true }));
    }
    expect(answers).toEqual([200, 204]);
    expect(data).toEqual(['1', '2']);
  });
});

describe('a topic that has ended with a private update', () => {
  test('has ended only for those who may receive it', async () => {
    const ada = bearer(await tokenFor({ subscribe: ['a'] }));
    const bob = bearer(await tokenFor({ subscribe: ['b'] }));
    const others = [await subscribe({ topic: 'a' }), await subscribe({ topic: 'a' }, bob)];
    const client = await subscribe({ topic: 'a' }, ada);
    const last = await publishLast({ topic: 'a', data: 'secret', private: '' });
    await client.ended;
    expect((await client.next()).data).toBe('secret');
    expect(await comeBack({ topic: 'a', lastEventID: last }, ada)).toBe(204);
    for (const headers of [{}, bob]) {
      for (const fields of [
        { topic: 'a', lastEventID: last },
        { topic: 'a', lastEventID: 'earliest' },
        { topic: 'a', latest: '1' },
        { topic: 'a' },
      ]) {
        expect(await comeBack(fields, headers)).toBe(200);
        others.push(await subscribe(fields, headers));
      }
    }
    // What comes to all of them now shows that none has ended.
    await publish({ topic: 'a', data: 'again', reopen: '' });
    for (const other of others) {
      expect((await other.next()).data).toBe('again');
      other.abort();
    }
  });

  test('is not told to those whose token is no longer good', async () => {
    const last = await publishLast({ topic: 'a', private: '' });
    const expired = bearer(await tokenFor({ subscribe: ['a'], ttlSeconds: -60 }));
    expect(await comeBack({ topic: 'a', lastEventID: last }, expired)).toBe(401);
  });
});

test('clients that are told nothing of before get the end of an ended topic, and nothing else', async () => {
  await service.stop();
  service = await startTestService({ ANONYMOUS: 'no-replay' });
  await publish({ topic: 'a', data: '1' });
  const last = await publishLast({ topic: 'a', data: '2' });
  for (const lastEventID of [undefined, 'earliest', 'unknown']) {
    const client = await subscribe({ topic: 'a', ...(lastEventID && { lastEventID }) });
    await client.ended;
    const events = lastEventID === undefined ? [] : await client.take(1);
    expect(events.map(({ event }) => event)).toEqual(events.map(() => 'gap'));
    await expect(client.next()).rejects.toThrow('has ended');
    expect(client.bytes().toString()).toContain(`id: ${last}\n`);
  }
  expect(await comeBack({ topic: 'a', lastEventID: last })).toBe(204);
});

test('an end outlives a restart with a journal on disk, its update trimmed or not', async () => {
  await service.stop();
  const directory = mkdtempSync(join(tmpdir(), 'journal-'));
  const env = { JOURNAL: `lmdb:${directory}`, JOURNAL_MAX_UPDATES: '3' };
  try {
    service = await startTestService(env);
    const before = await publish({ topic: 'a', data: '1' });
    const last = await publish({ topic: 'a', data: '2', id: 'mine', last: '' });
    for (const n of [1, 2, 3]) {
      await service.stop();
      service = await startTestService(env);
      expect(await comeBack({ topic: 'a', lastEventID: last })).toBe(204);
      expect((await post({ topic: 'a', data: 'late' })).status).toBe(409);
      const client = await subscribe({ topic: 'a', lastEventID: before });
      await client.ended;
      // By the third time all that is held is of another topic.
      expect(dataOf(client)).toEqual(n < 3 ? ['2'] : []);
      if (n === 3) expect(client.bytes().toString()).toMatch(/id: \d{13}-2\n\n$/);
      for (let m = 0; m < n; m += 1) await publish({ topic: 'b', data: String(m) });
    }
  } finally {
    await service.stop();
    rmSync(directory, { recursive: true });
    service = await startTestService();
  }
});

/** What has come but for gaps. */
function dataOf(client: SseClient): string[] {
  return [
    ...client
      .bytes()
      .toString()
      .matchAll(/^data: ([^{].*)$/gm),
  ].map(([, data = '']) => data);
}

test('two thousand streams that end at once, and come back, are all told', async () => {
  const sockets: Socket[] = [];
  const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`;
  const open = async (path: string) => {
    const socket = connectSocket({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
    socket.setEncoding('latin1').write(request(path));
    let text = '';
    socket.on('data', (piece: string) => (text += piece));
    const closed = once(socket, 'close').then(() => text);
    await once(socket, 'data');
    return { socket, closed, text: () => text };
  };
  const clients: Awaited<ReturnType<typeof open>>[] = [];
  for (let n = 0; n < 2_000; n += 100) {
    clients.push(...(await Promise.all(Array.from({ length: 100 }, () => open('/hub?topic=a')))));
  }
  const last = await publish({ topic: 'a', data: 'the end', last: '' });
  // Others are served meanwhile.
  const other = await subscribe({ topic: 'b' });
  await publish({ topic: 'b', data: 'other' });
  expect((await other.next()).data).toBe('other');
  other.abort();
  for (const { closed } of clients) {
    expect((await closed).endsWith(`id: ${last}\ndata: the end\n\n`)).toBe(true);
  }
  for (let n = 0; n < 2_000; n += 100) {
    const back = await Promise.all(
      Array.from({ length: 100 }, () => open(`/hub?topic=a&lastEventID=${last}`)),
    );
    for (const { socket, text } of back) {
      expect(text()).toMatch(/^HTTP\/1.1 204 No Content\r\n/);
      sockets.push(socket.destroy());
    }
  }
});

test('an app with streams of its own answers 204 by one line', async () => {
  const hub = await Hub.open(await openJournal('memory:'));
  const app = new Koa();
  app.use(sse()).use(async (ctx) => {
    const { lastEventId } = ctx.eventStream;
    const news = select(['news']);
    const start = lastEventId ? await hub.locate(lastEventId, news) : undefined;
    if (start && (await hub.isOver(news, start))) ctx.status = 204;
    else hub.subscribe(ctx.eventStream, news, { start });
  });
  const server = await serve(app);
  try {
    const client = await connect(server.url);
    await hub.publish([{ topics: ['news'], data: 'hello', last: true }]);
    await client.ended;
    const { id = '' } = await client.next();
    const response = await fetch(server.url, { headers: { 'Last-Event-ID': id } });
    expect([response.status, await response.text()]).toEqual([204, '']);
    expect(response.headers.get('Content-Type')).toBeNull();
  } finally {
    await server.close();
    hub.close();
  }
});
