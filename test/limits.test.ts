import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { SignJWT } from 'jose';
import type { Service } from '../src/service.js';
import { JWT_KEY, startTestService } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

/** Makes 127.0.0.1 a client like any other: no proxy, and not exempt since proxies have been named. */
const DIRECT = { TRUST_PROXY: '10.0.0.0/8' };
/** Makes 127.0.0.1 a proxy, whose `X-Forwarded-For` names the client. */
const BEHIND_PROXY = { TRUST_PROXY: 'loopback' };

/** What the service has told its operator. */
const logged: string[] = [];
const services: Service[] = [];
const sockets: Socket[] = [];
const streams: SseClient[] = [];

beforeEach(() => {
  logged.length = 0;
  jest.spyOn(console, 'error').mockImplementation((line: string) => {
    logged.push(line);
  });
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const stream of streams.splice(0)) stream.abort();
  await Promise.all(services.splice(0).map((service) => service.stop()));
  jest.restoreAllMocks();
});

async function start(env: Record<string, string>): Promise<Service> {
  const service = await startTestService(env);
  services.push(service);
  return service;
}

/** A connection that has been accepted, and sends no more than this. */
async function open({ url }: Service, bytes = '', localAddress = '127.0.0.1'): Promise<Socket> {
  const port = Number(new URL(url).port);
  const socket = connectSocket({ port, host: '127.0.0.1', localAddress });
  socket.on('error', () => undefined);
  sockets.push(socket);
  await once(socket, 'connect');
  if (bytes !== '') socket.write(bytes);
  return socket;
}

/** All that a connection answers until it closes. */
async function readAll(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(socket, 'close');
  return text;
}

async function stream({ url }: Service, path = '/hub?topic=x', headers = {}): Promise<SseClient> {
  const client = await connect(url + path, headers);
  streams.push(client);
  return client;
}

/** A token that may do everything. Two of one subject differ. */
function tokenOf(subject: string): Promise<string> {
  return new SignJWT({ sub: subject, mercure: { publish: ['*'], subscribe: ['*'] } })
    .setProtectedHeader({ alg: 'HS256' })
    .setJti(crypto.randomUUID())
    .sign(new TextEncoder().encode(JWT_KEY));
}

const from = (address: string) => ({ 'X-Forwarded-For': address });

interface Refusal {
  readonly status: number;
  readonly retryAfter: number;
  readonly detail: string;
}

/** What a refused request is told. */
async function refusalOf(response: Response): Promise<Refusal> {
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  const { status, detail } = (await response.json()) as { status: number; detail: string };
  expect(response.status).toBe(status);
  return { status, retryAfter: Number(response.headers.get('retry-after')), detail };
}

/** Asks again until the service has noticed that connections have closed. */
async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + 10_000; ; ) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

const HEAD = 'HEAD / HTTP/1.1\r\nHost: x\r\n\r\n';

describe('MAX_CONNECTIONS', () => {
  test('answers the surplus 503, names the limit, and closes; when one leaves, another is served', async () => {
    const service = await start({ MAX_CONNECTIONS: '3' });
    const open3 = [await stream(service), await stream(service), await open(service)];
    const answer = await readAll(await open(service, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
    expect(answer).toMatch(/^HTTP\/1.1 503 /);
    expect(answer).toMatch(/\r\nRetry-After: \d+\r\n/);
    expect(answer).toMatch(/\r\nConnection: close\r\n/);
    expect(answer).toMatch(/"status":503,"detail":"[^"]*\(MAX_CONNECTIONS: 3\)/);

    (open3[0] as SseClient).abort();
    await eventually(async () => expect((await stream(service)).response.statusCode).toBe(200));
  });

  test('drops what is far beyond it, and goes on serving those that it has', async () => {
    const service = await start({ MAX_CONNECTIONS: '2' });
    const client = await stream(service, '/stream');
    const idle = await Promise.all(Array.from({ length: 400 }, () => open(service)));
    const alive = () => idle.filter((socket) => !socket.closed).length;
    await eventually(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      expect(alive()).toBeLessThanOrEqual(2 + 128);
    });
    expect((await client.take(2)).length).toBe(2);
  });

  test('a connection beyond it that sends nothing is closed', async () => {
    const service = await start({ MAX_CONNECTIONS: '1' });
    await open(service);
    const opened = Date.now();
    await readAll(await open(service));
    expect(Date.now() - opened).toBeLessThan(10_000);
  });

  test('is not lifted for local addresses', async () => {
    const service = await start({ MAX_CONNECTIONS: '1' });
    await stream(service);
    expect(await refusalOf(await fetch(service.url))).toMatchObject({ status: 503 });
  });
});

describe('MAX_CONNECTIONS_PER_ADDRESS', () => {
  test('counts connections, also idle ones, where no proxy stands between', async () => {
    const service = await start({ ...DIRECT, MAX_CONNECTIONS_PER_ADDRESS: '3' });
    await stream(service);
    await open(service); // Sends nothing.
    await open(service, 'GET / HTTP/1.1\r\nX: '); // Does not end its head.
    const answer = await readAll(await open(service, HEAD));
    expect(answer).toMatch(/^HTTP\/1.1 429 /);
    expect(answer).toMatch(/\r\nRetry-After: \d+\r\n/);
    expect(answer).toMatch(/\r\nConnection: close\r\n/);
  });

  test('closes what is far beyond it at once, and goes on serving other addresses', async () => {
    const service = await start({ ...DIRECT, MAX_CONNECTIONS_PER_ADDRESS: '1' });
    const idle = await Promise.all(Array.from({ length: 200 }, () => open(service)));
    await eventually(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      expect(idle.filter((socket) => !socket.closed).length).toBeLessThanOrEqual(1 + 64);
    });
    const request = HEAD.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n');
    expect(await readAll(await open(service, request, '127.0.0.2'))).toMatch(/^HTTP\/1.1 200 /);
  });

  test('does not believe X-Forwarded-For of who is no proxy', async () => {
    const service = await start({ ...DIRECT, MAX_CONNECTIONS_PER_ADDRESS: '1' });
    await stream(service);
    const response = await fetch(service.url, { headers: from('203.0.113.7') });
    const { status, detail } = await refusalOf(response);
    expect(status).toBe(429);
    expect(detail).toMatch(/^127\.0\.0\.1 .*\(MAX_CONNECTIONS_PER_ADDRESS: 1\)/);
  });

  test('counts streams of each client behind a proxy, however many connections the proxy keeps', async () => {
    const service = await start({ ...BEHIND_PROXY, MAX_CONNECTIONS_PER_ADDRESS: '2' });
    for (let i = 0; i < 5; i++) await open(service);
    await stream(service, '/hub?topic=x', from('203.0.113.7'));
    await stream(service, '/counter', from('6.6.6.6, 203.0.113.7'));
    const { status, detail } = await refusalOf(
      await fetch(service.url, { headers: from('1.1.1.1, 203.0.113.7') }),
    );
    expect(status).toBe(429);
    expect(detail).toMatch(/^203\.0\.113\.7 .*MAX_CONNECTIONS_PER_ADDRESS/);
    const other = await stream(service, '/hub?topic=x', from('203.0.113.8'));
    expect(other.response.statusCode).toBe(200);
  });

  test('counts a request behind a proxy until it is answered, on a connection that stays open', async () => {
    const service = await start({ ...BEHIND_PROXY, MAX_CONNECTIONS_PER_ADDRESS: '3' });
    const head = HEAD.replace('Host', 'X-Forwarded-For: 203.0.113.7\r\nHost');
    const proxy = (await open(service)).setEncoding('latin1');
    for (let i = 0; i < 10; i++) {
      proxy.write(head);
      expect((await once(proxy, 'data'))[0]).toMatch(/^HTTP\/1.1 200 /);
    }
  });

  test('takes the addresses of a /64 for one client', async () => {
    const service = await start({ ...BEHIND_PROXY, MAX_CONNECTIONS_PER_ADDRESS: '1' });
    await stream(service, '/stream', from('2001:db8::1'));
    const statusOf = async (address: string) =>
      (await fetch(service.url, { headers: from(address) })).status;
    expect(await statusOf('2001:db8:0:0:ffff::2')).toBe(429);
    expect(await statusOf('2001:db8:0:1::1')).toBe(200);
  });

  test('is read by pages of other origins too', async () => {
    const service = await start({ ...BEHIND_PROXY, MAX_CONNECTIONS_PER_ADDRESS: '1' });
    await stream(service, '/stream', from('203.0.113.7'));
    const headers = { ...from('203.0.113.7'), Origin: 'https://app.example' };
    const response = await fetch(`${service.url}/stream`, { headers });
    expect(response.status).toBe(429);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
  });

  test('0 lifts it', async () => {
    const service = await start({ ...DIRECT, MAX_CONNECTIONS_PER_ADDRESS: '0' });
    const clients = await Promise.all(Array.from({ length: 110 }, () => stream(service)));
    expect(clients.every(({ response }) => response.statusCode === 200)).toBe(true);
  });

  test('does not count local addresses as long as nobody has said which proxies there are', async () => {
    const service = await start({ MAX_CONNECTIONS_PER_ADDRESS: '1', RATE_REQUESTS: '1/h' });
    const clients = await Promise.all(Array.from({ length: 5 }, () => stream(service)));
    expect(clients.every(({ response }) => response.statusCode === 200)).toBe(true);
  });

  test.each([
    ['without a proxy', DIRECT, {}],
    ['behind a proxy', BEHIND_PROXY, from('203.0.113.7')],
  ])(
    'however connections end, they are counted no longer: %s',
    async (_, trust, headers: Record<string, string>) => {
      const service = await start({
        ...trust,
        MAX_CONNECTIONS_PER_ADDRESS: '10',
        RATE_LIMITS: 'off',
      });
      const token = await tokenFor();
      const lines = Object.entries({ Host: 'x', Authorization: `Bearer ${token}`, ...headers })
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('');
      const get = (path: string, method = 'GET') => `${method} ${path} HTTP/1.1\r\n${lines}\r\n`;
      const post = `POST /hub HTTP/1.1\r\n${lines}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntopic=x`;
      const requests = [
        get('/hub?topic=x'),
        get('/hub?topic=x', 'HEAD'),
        get('/hub'),
        get('/stream') + get('/counter'),
        get('/') + get('/nothing') + get('/hub?topic=x') + get('/'),
        get('/', 'OPTIONS'),
        post + post + get('/messages'),
        'not HTTP at all\r\n\r\n',
      ];
      // A fixed sequence of numbers: the same ends in each run.
      let seed = 42;
      const random = (below: number) => {
        seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
        return seed % below;
      };
      for (let round = 0; round < 60; round++) {
        await Promise.all(
          Array.from({ length: 10 }, async () => {
            const bytes = requests[random(requests.length)] as string;
            const length = random(3) === 0 ? random(bytes.length) : bytes.length;
            const socket = await open(service, bytes.slice(0, length));
            const end = random(4);
            if (end === 0) socket.destroy();
            else if (end === 1) socket.resetAndDestroy();
            else if (end === 2) socket.end();
            else setImmediate(() => socket.destroy());
            socket.resume();
          }),
        );
        for (const socket of sockets.splice(0)) socket.destroy();
      }
      await eventually(async () => {
        const clients = await Promise.all(
          Array.from({ length: 10 }, () => stream(service, '/hub?topic=x', headers)),
        );
        const statuses = clients.map(({ response }) => response.statusCode);
        for (const client of clients) if (statuses.includes(429)) client.abort();
        expect(statuses).toEqual(Array(10).fill(200));
      });
      const full = await connect(`${service.url}/stream`, headers);
      expect(full.response.statusCode).toBe(429);
      full.abort();
    },
  );
});

describe('MAX_CONNECTIONS_PER_SUBJECT', () => {
  test('counts the streams of a token’s subject, from wherever, until they close', async () => {
    const service = await start({ MAX_CONNECTIONS_PER_SUBJECT: '2' });
    const bearer = async (token: Promise<string>) => ({ Authorization: `Bearer ${await token}` });
    const ada = await bearer(tokenOf('ada'));
    const first = await stream(service, '/hub?topic=x', ada);
    await stream(service, '/.well-known/mercure?topic=y', await bearer(tokenOf('ada')));
    const url = `${service.url}/hub?topic=z`;
    const refusal = await refusalOf(await fetch(url, { headers: ada }));
    expect(refusal).toMatchObject({ status: 429 });
    expect(refusal.retryAfter).toBeGreaterThan(0);
    expect(refusal.detail).toContain('MAX_CONNECTIONS_PER_SUBJECT: 2');
    expect((await fetch(url, { method: 'HEAD', headers: ada })).status).toBe(200);
    for (const headers of [await bearer(tokenOf('bob')), await bearer(tokenFor()), {}]) {
      expect((await stream(service, '/hub?topic=z', headers)).response.statusCode).toBe(200);
    }

    first.abort();
    await eventually(async () =>
      expect((await stream(service, '/hub?topic=z', ada)).response.statusCode).toBe(200),
    );
  });

  test('0 lifts it', async () => {
    const service = await start({ MAX_CONNECTIONS_PER_SUBJECT: '0' });
    const headers = { Authorization: `Bearer ${await tokenOf('ada')}` };
    const client = await stream(service, '/hub?topic=x', headers);
    expect(client.response.statusCode).toBe(200);
  });
});

describe('rates', () => {
  const message = (service: Service, headers: Record<string, string> = {}) =>
    fetch(`${service.url}/message?id=ada`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: '{"message":"Hi"}',
    });

  async function publish(
    { url }: Service,
    token: string,
    topic = 'x',
    type?: string,
    idempotencyKey?: string,
  ) {
    const contentType = type ?? 'application/x-www-form-urlencoded';
    return fetch(`${url}/hub`, {
      method: 'POST',
      headers: {
        Authorization: `Bearer ${token}`,
        'Content-Type': contentType,
        ...(idempotencyKey && { 'Idempotency-Key': idempotencyKey }),
      },
      body: type === undefined ? `topic=${topic}` : topic,
    });
  }

  const tokenOfX = () => tokenFor({ publish: ['x'] });

  test('RATE_REQUESTS: 429 says which limit, and when it is worth trying again', async () => {
    const service = await start({ ...BEHIND_PROXY, RATE_REQUESTS: '3/h' });
    const head = (address: string) => fetch(service.url, { headers: from(address) });
    for (let i = 0; i < 3; i++) expect((await head('203.0.113.7')).status).toBe(200);
    const { status, retryAfter, detail } = await refusalOf(await head('203.0.113.7'));
    expect(status).toBe(429);
    expect(detail).toContain('RATE_REQUESTS: 3/h');
    // One of three in an hour comes back after 20 minutes.
    expect(retryAfter).toBeGreaterThan(1_190);
    expect(retryAfter).toBeLessThanOrEqual(1_200);
    expect((await head('203.0.113.8')).status).toBe(200);
  });

  test('what a rate allows comes back with time', async () => {
    const service = await start({ ...BEHIND_PROXY, RATE_REQUESTS: '1/s' });
    const get = () => fetch(service.url, { headers: from('203.0.113.7') });
    expect((await get()).status).toBe(200);
    const { retryAfter } = await refusalOf(await get());
    expect(retryAfter).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, retryAfter * 1_000));
    expect((await get()).status).toBe(200);
  });

  test('RATE_STREAMS: new event streams of an address, on all routes together', async () => {
    const service = await start({ ...DIRECT, RATE_STREAMS: '5/h' });
    for (const path of ['/stream', '/events', '/counter', '/messages', '/hub?topic=x']) {
      expect((await stream(service, path)).response.statusCode).toBe(200);
    }
    for (const path of ['/stream', '/hub?topic=x', '/.well-known/mercure?topic=x']) {
      const { status, detail } = await refusalOf(await fetch(service.url + path));
      expect(status).toBe(429);
      expect(detail).toContain('RATE_STREAMS: 5/h');
    }
    expect((await fetch(service.url)).status).toBe(200);
    expect((await fetch(`${service.url}/stream`, { method: 'HEAD' })).status).toBe(200);
  });

  test('RATE_CHAT: messages of an address, whatever user it names', async () => {
    const service = await start({ ...BEHIND_PROXY, RATE_CHAT: '2/h' });
    expect((await message(service, from('203.0.113.7'))).status).toBe(200);
    expect((await message(service, from('203.0.113.7'))).status).toBe(200);
    const { status, detail } = await refusalOf(await message(service, from('203.0.113.7')));
    expect(status).toBe(429);
    expect(detail).toContain('RATE_CHAT: 2/h');
    expect((await message(service, from('203.0.113.8'))).status).toBe(200);
  });

  test('RATE_PUBLISHES: updates of a subject, from wherever, also of local addresses', async () => {
    const service = await start({ RATE_PUBLISHES: '3/h' });
    const [ada, adaToo, bob] = await Promise.all([tokenOf('ada'), tokenOf('ada'), tokenOf('bob')]);
    const statuses = await Promise.all(
      Array.from({ length: 6 }, async (_, i) => {
        return (await publish(service, i % 2 ? ada : adaToo)).status;
      }),
    );
    expect(statuses.filter((status) => status === 200).length).toBe(3);
    const { status, detail } = await refusalOf(await publish(service, ada));
    expect(status).toBe(429);
    expect(detail).toContain('RATE_PUBLISHES: 3/h');
    expect((await publish(service, bob)).status).toBe(200);
  });

  test('RATE_PUBLISHES: counts each update of an NDJSON body, and tokens without a subject one by one', async () => {
    const service = await start({ RATE_PUBLISHES: '4/h' });
    const [one, other] = [await tokenFor(), await tokenFor({ publish: ['*'] })];
    const lines = '{"topic":"x"}\n'.repeat(5);
    expect((await publish(service, one, lines, 'application/x-ndjson')).status).toBe(200);
    const { status, retryAfter } = await refusalOf(await publish(service, one));
    expect(status).toBe(429);
    // Two of four in an hour have to come back: the one that was too many, and the next.
    expect(retryAfter).toBeGreaterThan(1_790);
    expect((await publish(service, other)).status).toBe(200);
  });

  test('a back end that publishes with a token is not limited by its address', async () => {
    const service = await start({ ...DIRECT, RATE_REQUESTS: '20/h' });
    const token = await tokenFor();
    const statuses = new Set<number>();
    for (let i = 0; i < 60; i++) statuses.add((await publish(service, token)).status);
    expect([...statuses]).toEqual([200]);
  });

  test.each<[number, string, (service: Service) => Promise<Response>]>([
    [400, 'has no topic', async (service) => publish(service, await tokenFor(), '')],
    [401, 'has a token that is not good', (service) => publish(service, 'guess')],
    [403, 'is to a topic of others', async (service) => publish(service, await tokenOfX(), 'y')],
    [
      403,
      'has a token that grants no publishing',
      async (service) => publish(service, await tokenFor({ publish: [] })),
    ],
    [413, 'is too large', async (service) => publish(service, await tokenFor(), 'x'.repeat(2_000))],
    [
      415,
      'is of another type',
      async (service) => publish(service, await tokenFor(), 'x', 'text/x'),
    ],
    [
      422,
      'has an Idempotency-Key of another one',
      async (service) => publish(service, await tokenFor(), `${Math.random()}`, undefined, 'key'),
    ],
  ])(
    'a publish that is refused with %i since it %s counts for RATE_REQUESTS',
    async (status, _, refused) => {
      const service = await start({ ...DIRECT, RATE_REQUESTS: '5/h', MAX_BODY_BYTES: '1024' });
      const token = await tokenFor();
      // Those that are taken give back what they took.
      for (let i = 0; i < 7; i++) {
        expect((await publish(service, token, 'x', undefined, 'key')).status).toBe(200);
      }
      const statuses: number[] = [];
      for (let i = 0; i < 7; i++) statuses.push((await refused(service)).status);
      expect(statuses).toEqual([status, status, status, status, status, 429, 429]);
      expect((await publish(service, token)).status).toBe(429);
    },
  );

  test('a publish that RATE_PUBLISHES refuses counts for RATE_REQUESTS, and one that it lets through does not', async () => {
    const service = await start({ ...DIRECT, RATE_REQUESTS: '5/h', RATE_PUBLISHES: '6/h' });
    const token = await tokenFor();
    const details: string[] = [];
    for (let i = 0; i < 6; i++) expect((await publish(service, token)).status).toBe(200);
    for (let i = 0; i < 6; i++) {
      details.push((await refusalOf(await publish(service, token))).detail);
    }
    expect(details.map((detail) => /RATE_\w+/.exec(detail)?.[0])).toEqual([
      ...Array.from({ length: 5 }, () => 'RATE_PUBLISHES'),
      'RATE_REQUESTS',
    ]);
  });

  test('tokens that are guessed are limited by address', async () => {
    const service = await start({ ...DIRECT, RATE_REQUESTS: '5/h' });
    const statuses: number[] = [];
    for (let i = 0; i < 8; i++) statuses.push((await publish(service, 'guess')).status);
    expect(statuses).toEqual([401, 401, 401, 401, 401, 429, 429, 429]);
  });

  test('RATE_LIMITS=off lifts all of them', async () => {
    const service = await start({
      ...DIRECT,
      RATE_LIMITS: 'off',
      RATE_REQUESTS: '1/h',
      RATE_STREAMS: '1/h',
      RATE_CHAT: '1/h',
      RATE_PUBLISHES: '1/h',
    });
    const token = await tokenFor();
    for (let i = 0; i < 2; i++) {
      expect((await message(service)).status).toBe(200);
      expect((await publish(service, token)).status).toBe(200);
      expect((await stream(service, '/stream')).response.statusCode).toBe(200);
    }
  });

  test('by default a hundred pages of one address may reconnect again and again', async () => {
    const service = await start({ ...DIRECT, MAX_CONNECTIONS_PER_ADDRESS: '0' });
    for (let round = 0; round < 5; round++) {
      const clients = await Promise.all(
        Array.from({ length: 100 }, () => connect(`${service.url}/stream`)),
      );
      expect(clients.filter(({ response }) => response.statusCode !== 200)).toEqual([]);
      for (const client of clients) client.abort();
    }
  });
});

describe('the log', () => {
  test('sums refusals up: the first at once, the others with the end of the service', async () => {
    const service = await start({ ...BEHIND_PROXY, RATE_REQUESTS: '1/h' });
    for (let i = 0; i < 6; i++) await fetch(service.url, { headers: from('203.0.113.7') });
    expect(logged).toEqual([
      expect.stringMatching(/^203\.0\.113\.7 is refused: .*\(RATE_REQUESTS: 1\/h\)\.$/),
    ]);
    await services.pop()?.stop();
    expect(logged).toEqual([
      logged[0],
      expect.stringMatching(/^203\.0\.113\.7 is refused: .* \(one of 4 like it in \d+ s\)$/),
    ]);
  });

  test('names the client that a trusted proxy names, of a client that does not read too', async () => {
    const service = await start(BEHIND_PROXY);
    const forged = 'X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n';
    const deaf = await open(service, `GET /hub?topic=x HTTP/1.1\r\nHost: x\r\n${forged}\r\n`);
    deaf.pause();
    const token = await tokenFor();
    const data = 'x'.repeat(900_000);
    await eventually(async () => {
      await fetch(`${service.url}/hub`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}` },
        body: new URLSearchParams({ topic: 'x', data }),
      });
      expect(logged).toContain('203.0.113.7 does not read; its cursor waits for it.');
    });
  });

  test('says that a proxy passes on a header that it does not write', async () => {
    const service = await start(BEHIND_PROXY);
    await fetch(service.url, { headers: { ...from('203.0.113.7'), Forwarded: 'for=6.6.6.6' } });
    expect(logged).toEqual([
      expect.stringMatching(/^127\.0\.0\.1 .*Forwarded.*neither is believed/),
    ]);
  });
});
