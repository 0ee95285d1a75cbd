import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import request from 'supertest';
import type { Service } from '../src/service.js';
import { startTestService } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';

let service: Service;

beforeAll(async () => {
  service = await startTestService();
});

afterAll(() => service.stop());

const open = (path: string, headers?: Record<string, string>): Promise<SseClient> =>
  connect(service.url + path, headers);

describe('GET /stream', () => {
  test('greets unnamed, then tells the time as currentTime every second', async () => {
    const client = await open('/stream');
    const [hello, ...ticks] = await client.take(4);
    expect(hello).toMatchObject({ event: undefined, data: 'hello from stream' });
    for (const { event, data } of ticks) {
      expect(event).toBe('currentTime');
      expect(data).toBe(new Date(data).toUTCString());
    }
    const seconds = ticks.map(({ data }) => Date.parse(data) / 1000);
    expect(seconds).toEqual([0, 1, 2].map((n) => (seconds[0] as number) + n));
    client.abort();
  });

  test('gives every event an id <epoch>-<sequence>, unique and increasing', async () => {
    const clients = [await open('/stream'), await open('/stream')];
    const seen = await Promise.all(clients.map((client) => client.take(3)));
    const [epoch] = (seen[0]?.[0]?.id ?? '').split('-');
    for (const events of seen) {
      const sequences = events.map(({ id = '' }) => {
        expect(id).toMatch(new RegExp(`^${epoch}-[1-9]\\d*$`));
        return Number(id.split('-')[1]);
      });
      expect(sequences).toEqual([...new Set(sequences)].sort((a, b) => a - b));
    }
    const hellos = seen.map((events) => events[0]?.id);
    expect(new Set(hellos).size).toBe(2);
    for (const client of clients) client.abort();
  });

  test('one clock serves all: the same tick is the same bytes to everybody', async () => {
    const clients = await Promise.all(Array.from({ length: 10 }, () => open('/stream')));
    const ticks = await Promise.all(
      clients.map(async (client) => {
        await client.next();
        return client.next();
      }),
    );
    expect(new Set(ticks.map((tick) => JSON.stringify(tick))).size).toBe(1);
    for (const client of clients) client.abort();
  });
});

describe('GET /events', () => {
  test("tells the server's local time, unnamed, at once and every second", async () => {
    const before = Date.now();
    const client = await open('/events');
    const [first, ...ticks] = await client.take(3);
    const possible = [before, Date.now()].map((ms) => new Date(ms).toLocaleTimeString());
    expect(first?.event).toBeUndefined();
    expect(ticks.every(({ event }) => event === undefined)).toBe(true);
    expect(possible.concat(ticks[0]?.data ?? '')).toContain(first?.data);
    expect(ticks[0]?.data).not.toBe(ticks[1]?.data);
    for (const { data } of ticks) expect(data).toMatch(/^\d{1,2}:\d{2}:\d{2}/);
    client.abort();
  });
});

describe('GET /counter', () => {
  test('counts 0, 1, 2, … for each connection from its own start', async () => {
    const first = await open('/counter');
    expect((await first.take(2)).map(({ data }) => data)).toEqual(['0', '1']);
    const second = await open('/counter');
    const [later, earlier] = await Promise.all([second.take(2), first.take(2)]);
    expect(later.map(({ data }) => data)).toEqual(['0', '1']);
    expect(earlier.map(({ data }) => data)).toEqual(['2', '3']);
    expect(later.every(({ event }) => event === undefined)).toBe(true);
    first.abort();
    second.abort();
  });
});

describe('the chat', () => {
  const post = (user: string) => request(service.url).post(`/message?id=${user}`);
  const list = async (client: SseClient) => JSON.parse((await client.next()).data);

  beforeAll(async () => {
    await service.stop();
    service = await startTestService();
  });

  test('GET /messages starts with the whole list as one unnamed event', async () => {
    const client = await open('/messages?id=9');
    const first = await client.next();
    expect(first).toMatchObject({ event: undefined, data: '[]' });
    client.abort();
  });

  test('a message, JSON or form, reaches everybody but its sender as the whole list, trimmed', async () => {
    const guest = await open('/messages');
    const sender = await open('/messages?id=1234');
    const other = await open('/messages?id=5678');
    for (const client of [guest, sender, other]) expect(await list(client)).toEqual([]);

    const first = { user_id: '1234', message: 'Hi' };
    const second = { user_id: '5678', message: 'Hello, 世界' };
    const posted = await post('1234').send({ message: '  Hi \n' });
    expect(posted.status).toBe(200);
    expect(posted.body).toEqual(first);
    expect(await list(guest)).toEqual([first]);
    expect(await list(other)).toEqual([first]);

    await post('5678').type('form').send({ message: second.message }).expect(200);
    expect(await list(guest)).toEqual([first, second]);
    // The sender of the first is told of the second only: nothing came in between.
    expect(await list(sender)).toEqual([first, second]);

    const late = await open('/messages?id=5678');
    expect(await list(late)).toEqual([first, second]);
    for (const client of [guest, sender, other, late]) client.abort();
  });

  test.each([
    ['without an id', '/message', { message: 'x' }, /^id is missing/],
    ['with a blank id', '/message?id=%20', { message: 'x' }, /^id is blank/],
    ['with two ids', '/message?id=1&id=2', { message: 'x' }, /^id must be one text/],
    ['without a message', '/message?id=1', {}, /^message is missing/],
    ['with a blank message', '/message?id=1', { message: ' \t\n' }, /^message is blank/],
    ['with a message that is no text', '/message?id=1', { message: { a: 1 } }, /^message must be/],
    ['with an endless message', '/message?id=1', { message: 'x'.repeat(4001) }, /4000 characters/],
    ['with an endless id', `/message?id=${'x'.repeat(129)}`, { message: 'x' }, /128 characters/],
  ])('a post %s is answered 400 and stores nothing', async (_, path, body, detail) => {
    const before = await open('/messages');
    const stored = await list(before);
    before.abort();
    const response = await request(service.url).post(path).send(body);
    expect(response.status).toBe(400);
    expect(response.type).toBe('application/problem+json');
    expect(response.body).toMatchObject({ title: 'Bad Request', status: 400 });
    expect(response.body.detail).toMatch(detail);
    const after = await open('/messages');
    expect(await list(after)).toEqual(stored);
    after.abort();
  });

  test('an empty post says that the message is missing', async () => {
    const response = await post('1');
    expect(response.status).toBe(400);
    expect(response.body.detail).toMatch(/^message is missing/);
  });

  test('the list holds the last 100 messages', async () => {
    for (let n = 0; n < 105; n += 1)
      await post('1')
        .send({ message: `no. ${n}` })
        .expect(200);
    const client = await open('/messages');
    const messages: { message: string }[] = await list(client);
    expect(messages.map(({ message }) => message)).toEqual(
      Array.from({ length: 100 }, (_, n) => `no. ${n + 5}`),
    );
    client.abort();
  });

  test('a listener that did not read for a while ends up with the latest list', async () => {
    const client = await open('/messages?id=slow');
    await client.next();
    client.response.pause();
    const message = 'x'.repeat(4000);
    for (let n = 0; n < 110; n += 1) await post('1').send({ message: `${n} ${message.slice(4)}` });
    await post('1').send({ message: 'the latest' }).expect(200);
    client.response.resume();
    for (;;) {
      const messages = await list(client);
      if (messages.at(-1).message === 'the latest') break;
    }
    client.abort();
    await once(client.response, 'close');
  });
});
