import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import request from 'supertest';
import type { Service } from '../src/service.js';
import { type RawClient, rawConnect, statusesOf } from './support/raw-client.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY, startTestService } from './support/server.js';
import { tokenFor } from './support/tokens.js';

const MEGABYTE = 1024 * 1024;
const SETTINGS = { JOURNAL: 'memory:', JWT_KEY, SUBSCRIPTIONS: 'true' };

let service: Service;
let token: string;
const clients: RawClient[] = [];

beforeAll(async () => {
  token = await tokenFor();
  service = await startTestService({ LOG_LEVEL: 'error' });
});

afterAll(() => Promise.all([service.stop(), killPrograms()]));

afterEach(() => {
  for (const { socket } of clients.splice(0)) socket.destroy();
  jest.restoreAllMocks();
});

async function open(url = service.url): Promise<RawClient> {
  const client = await rawConnect(url);
  clients.push(client);
  return client;
}

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
const head = (path: string): string => `HEAD ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
const publish = (body: string): string =>
  `POST /hub HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n` +
  `Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const STREAM_HEAD = /Content-Type: text\/event-stream/g;

describe('requests in line on one connection', () => {
  test('are answered in their order, whatever they are', async () => {
    const client = await open();
    client.send(
      [
        publish('topic=line&data=1'),
        head('/'),
        get('/hub'),
        publish('topic=line&data=2'),
        get('/nothing'),
        publish('data=3'),
        head('/hub?topic=line'),
        get('/messages?id='.padEnd(200, 'x')),
      ].join(''),
    );
    const text = await client.answered(8, '}');
    expect(statusesOf(text)).toEqual([200, 200, 400, 200, 404, 400, 200, 400]);
  });

  test('are handled side by side: 64 publishes share their turns', async () => {
    const client = await open();
    client.send(publish('topic=many&data=x').repeat(64));
    const text = await client.answered(64, '');
    expect(statusesOf(text)).toEqual(Array(64).fill(200));
  });

  test('may be 100 without an answer; one more closes the connection', async () => {
    const enough = await open();
    enough.send(head('/').repeat(100));
    await enough.answered(100, '\r\n\r\n');
    const more = await open();
    more.send(head('/').repeat(101));
    expect(statusesOf((await more.closed).text).length).toBeLessThan(101);
  });

  test('that come after an event stream get no answer, and more than four close it', async () => {
    const client = await open();
    client.send(get('/counter'));
    await client.received(/data: 0\n/);
    client.send(get('/').repeat(4));
    const text = await client.received(/data: 1\n/);
    expect(statusesOf(text)).toEqual([200]);
    client.send(get('/'));
    await client.closed;
    expect(statusesOf(client.text())).toEqual([200]);
  });

  test('for a second event stream get none', async () => {
    const client = await open();
    client.send(get('/counter').repeat(3));
    const text = await client.received(/data: 2\n/);
    expect(text.match(STREAM_HEAD)).toHaveLength(1);
    expect(text.match(/data: 0/g)).toHaveLength(1);
  });

  test('of another kind before an event stream are answered first', async () => {
    const client = await open();
    client.send(head('/') + publish('topic=b') + get('/counter'));
    const text = await client.received(/data: 0\n/);
    expect(statusesOf(text)).toEqual([200, 200, 200]);
  });

  test.each<[string, () => string, number]>([
    ['GET /hub', () => get('/hub?topic=x'), 1],
    ['GET /counter', () => get('/counter'), 1],
    ['HEAD /', () => head('/'), 100],
    ['POST /hub', () => publish('topic=x&data=y'), 100],
    ['GET /', () => get('/'), 100],
    ['GET /nothing', () => get('/nothing'), 100],
  ])('20,000 at once, of a client that reads nothing, cost little: %s', async (_, of, most) => {
    const program = await flooded();
    const before = rssOf(program);
    const client = await open(program.url);
    client.socket.pause();
    client.send(of().repeat(20_000));
    const asked = performance.now();
    await request(program.url).head('/').expect(200);
    expect(performance.now() - asked).toBeLessThan(1_000);
    expect(rssOf(program) - before).toBeLessThan(60 * MEGABYTE);
    const { body } = await request(program.url)
      .get('/hub/subscriptions')
      .set('Authorization', `Bearer ${token}`);
    expect(body.subscriptions.length).toBeLessThanOrEqual(1);
    client.socket.resume();
    await client.closed;
    expect(statusesOf(client.text()).length).toBeLessThanOrEqual(most);
    expect(program.stderr()).toBe('');
  });

  let program: Program | undefined;

  async function flooded(): Promise<Program> {
    program ??= await runProgram('dist/main.js', { env: SETTINGS });
    return program;
  }
});

describe('a client that takes its time', () => {
  test('for the head of a request is answered 408 and cut off, as is one that sends nothing', async () => {
    const program = await runProgram('dist/main.js', {
      env: { ...SETTINGS, BODY_TIMEOUT_MS: '500' },
    });
    const slow = await open(program.url);
    slow.send('GET / HTTP/1.1\r\nHost: x\r\n');
    const drip = setInterval(() => slow.send('X: y\r\n'), 50);
    const silent = await open(program.url);
    const behind = await open(program.url);
    behind.send(`${head('/')}GET / HT`);
    await Promise.all([slow.gone, silent.closed, behind.closed]);
    clearInterval(drip);
    expect(statusesOf(slow.text())).toEqual([408]);
    expect(slow.text()).toContain('application/problem+json');
    expect(statusesOf(silent.text())).toEqual([408]);
    expect(statusesOf(behind.text())).toEqual([200, 408]);
    expect(program.stderr()).toBe('');
  });

  test('between two requests is disconnected', async () => {
    const client = await open();
    client.send(head('/'));
    await client.received(/ 200 /);
    await client.closed;
  }, 15_000);
});

describe('what is no request', () => {
  test.each([
    ['a bad request line', 'nonsense\r\n\r\n', 400],
    ['HTTP/0.9', 'GET /\r\n\r\n', 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['another version', 'GET / HTTP/9.9\r\n\r\n', 400],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['a header without a colon', 'GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n', 400],
    ['a NUL in a header', 'GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n', 400],
    [
      'two lengths',
      'POST /hub HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      400,
    ],
    ['a length that is none', 'POST /hub HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n', 400],
    [
      'a length and chunks',
      'POST /hub HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      400,
    ],
    ['large headers', `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['a large request line', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
    ['many headers', `GET / HTTP/1.1\r\nHost: x\r\n${'X-Y: yyyyyy\r\n'.repeat(3_000)}\r\n`, 431],
    ['another expectation', 'GET / HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n', 417],
    [
      'a chunk without a size',
      'POST /message?id=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n',
      400,
    ],
    ['the end of half a request', 'GET / HT', 400],
  ])('is answered with a problem document, and nothing is logged: %s', async (_, bytes, status) => {
    const log = jest.spyOn(console, 'error');
    const client = await open();
    client.socket.end(bytes);
    const { text, error } = await client.closed;
    expect(error).toBeUndefined();
    expect(statusesOf(text)).toEqual([status]);
    expect(text).toMatch(/\r\nContent-Type: application\/problem\+json\r\n/);
    expect(text).toMatch(/\r\nX-Content-Type-Options: nosniff\r\n/);
    expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n')))).toMatchObject({
      status,
      detail: expect.stringMatching(/\.$/),
    });
    expect(log).not.toHaveBeenCalled();
  });

  test('behind requests comes after their answers', async () => {
    const client = await open();
    client.send(`${publish('topic=a')}${head('/')}nonsense\r\n\r\n`);
    expect(statusesOf((await client.closed).text)).toEqual([200, 200, 400]);
  });

  test('behind an event stream ends it', async () => {
    const client = await open();
    client.send(get('/counter'));
    await client.received(/data: 0\n/);
    client.send('nonsense\r\n\r\n');
    expect(statusesOf((await client.closed).text)).toEqual([200]);
  });

  test('is answered or cut off when it is a TLS hello, or CONNECT', async () => {
    const tls = connectTls(Number(new URL(service.url).port), '127.0.0.1');
    const [error] = await once(tls, 'error');
    expect(error.code).toEqual(expect.any(String));
    const client = await open();
    client.send('CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.closed;
    await request(service.url).head('/').expect(200);
  });
});

describe('every answer says nosniff', () => {
  test.each([
    ['get', '/', 200],
    ['get', '/nothing', 404],
    ['get', '/hub', 400],
    ['head', '/counter', 200],
    ['options', '/hub', 204],
    ['delete', '/hub', 405],
    ['post', '/hub', 401],
    ['post', '/message', 400],
  ] as const)('%s %s', async (method, path, status) => {
    const response = await request(service.url)
      [method](path)
      .set({ Origin: 'https://x.example', 'Access-Control-Request-Method': 'GET' });
    expect(response.status).toBe(status);
    expect(response.headers['x-content-type-options']).toBe('nosniff');
  });

  test('304, and an event stream', async () => {
    const { headers } = await request(service.url).get('/');
    const again = await request(service.url)
      .get('/')
      .set('If-None-Match', headers.etag as string);
    expect(again.status).toBe(304);
    expect(again.headers['x-content-type-options']).toBe('nosniff');
    const client = await open();
    client.send(get('/counter'));
    expect(await client.received(/data: 0/)).toMatch(/\r\nX-Content-Type-Options: nosniff\r\n/);
  });
});

function rssOf({ pid }: Program): number {
  const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

describe('the target of a request', () => {
  test.each([
    'http://[/hub',
    'http://xn--/',
    'x://[',
    'hub',
    'http:',
    'http://a:99999/',
    'javascript:1',
    '\u00e9',
  ])('that names no path is answered 400: %s', async (target) => {
    for (const method of ['GET', 'HEAD', 'POST', 'OPTIONS', 'PUT']) {
      const client = await rawConnect(service.url);
      client.send(`${method} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      const { text } = await client.closed;
      expect(statusesOf(text)).toEqual([400]);
    }
  });

  test.each(['/', 'http://example.com', 'http://example.com/', 'HTTPS://x/?a=b'])(
    'may be a path or a URL: %s',
    async (target) => {
      const client = await rawConnect(service.url);
      client.send(`HEAD ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      const { text } = await client.closed;
      expect(statusesOf(text)).toEqual([200]);
    },
  );
});
