import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { SignJWT } from 'jose';
import { type Grants, verifyToken } from '../src/auth/grants.js';
import { readKeys } from '../src/auth/keys.js';
import type { RemoteKeysOptions } from '../src/auth/remote-keys.js';
import type { Service } from '../src/service.js';
import { jwk, type KeySetServer, startKeySet } from './support/key-set.js';
import { startTestService } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';

const pair = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const [first, second] = [pair(), pair()];

interface Signing {
  readonly kid?: string | undefined;
  readonly exp?: number;
}

function sign({ privateKey }: { privateKey: KeyObject }, { kid, exp }: Signing = { kid: 'a' }) {
  const token = new SignJWT({ mercure: { publish: ['*'], subscribe: ['*'] } });
  if (exp !== undefined) token.setExpirationTime(exp);
  return token
    .setProtectedHeader({ alg: 'ES256', ...(kid === undefined ? {} : { kid }) })
    .sign(privateKey);
}

let keySet: KeySetServer;
beforeEach(async () => {
  keySet = await startKeySet();
  jest.spyOn(console, 'error').mockImplementation(() => undefined);
});
afterEach(async () => {
  jest.restoreAllMocks();
  if (keySet.server.listening) await keySet.stop();
});

/** Resolves when the key set has been answered so many times more. */
async function fetched(times = 1): Promise<void> {
  for (let i = 0; i < times; i++) await once(keySet.server, 'request');
}

describe('a stream', () => {
  let service: Service;
  const clients: SseClient[] = [];
  beforeEach(async () => {
    const env = { JWKS_URL: keySet.url, JWKS_MAX_AGE: '1s', JWT_KEY: '', SUBSCRIPTIONS: 'true' };
    service = await startTestService(env);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.abort();
    await service.stop();
  });

  async function open(token: string): Promise<SseClient> {
    const client = await connect(`${service.url}/hub?topic=x&authorization=${token}`);
    expect(client.response.statusCode).toBe(200);
    client.ended.catch(() => undefined);
    clients.push(client);
    return client;
  }

  test('ends when the key of its token is withdrawn, with exp or without, and no other does', async () => {
    keySet.keys = [jwk(first, 'a'), jwk(second, 'b')];
    const exp = Math.floor(Date.now() / 1_000) + 3_600;
    const ending = await Promise.all([
      open(await sign(first)),
      open(await sign(first, { kid: 'a', exp })),
    ]);
    const staying = await open(await sign(second, { kid: 'b' }));
    const stays = jest.fn();
    void staying.ended.then(stays);

    const asked = performance.now();
    keySet.keys = [jwk(second, 'b')];
    // No request comes, but the one of the timer.
    await Promise.all(ending.map((client) => client.ended));
    expect(performance.now() - asked).toBeLessThan(10_000);
    await fetched(2);
    expect(stays).not.toHaveBeenCalled();

    const refused = await connect(`${service.url}/hub?topic=x&authorization=${await sign(first)}`);
    expect(refused.response.statusCode).toBe(401);
    refused.abort();
  });

  test('of a client that does not read is cut', async () => {
    keySet.keys = [jwk(first, 'a'), jwk(second, 'b')];
    const path = '/hub?topic=/.well-known/mercure/subscriptions/x{/subscriber}';
    const token = await sign(second, { kid: 'b' });
    const Authorization = `Bearer ${token}`;
    const watcher = await connect(service.url + path, { Authorization });
    clients.push(watcher);
    watcher.ended.catch(() => undefined);

    const socket = connectSocket(Number(new URL(service.url).port), '127.0.0.1');
    socket.write(
      `GET /hub?topic=x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${await sign(first)}\r\n\r\n`,
    );
    expect((await watcher.next()).data).toContain('"active":true');
    // More than the sockets' buffers hold.
    const body = JSON.stringify({ topic: 'x', data: 'x'.repeat(1_000_000) });
    const headers = { Authorization, 'Content-Type': 'application/json' };
    for (let i = 0; i < 20; i++) {
      const published = await fetch(`${service.url}/hub`, { method: 'POST', headers, body });
      expect(published.status).toBe(200);
    }
    keySet.keys = [jwk(second, 'b')];
    expect((await watcher.next()).data).toContain('"active":false');

    let bytes = 0;
    socket
      .on('error', () => undefined)
      .on('data', (chunk) => {
        bytes += chunk.length;
      });
    await once(socket, 'close');
    expect(bytes).toBeLessThan(20_000_000);
  });

  test('goes on while its key stays, wherever it stands in the set and however it is written', async () => {
    keySet.keys = [jwk(first, 'a'), jwk(second, 'b')];
    const clients = [await open(await sign(first)), await open(await sign(first, {}))];
    const ended = jest.fn();
    for (const client of clients) void client.ended.then(ended);
    const { kty, crv, x, y } = jwk(first, 'a');
    keySet.keys = [
      jwk(pair(), 'c'),
      { use: 'sig', y, x, alg: 'ES256', crv, kty, kid: 'a' },
    ] as never;
    await fetched(3);
    expect(ended).not.toHaveBeenCalled();
  });

  test('goes on when the key server fails', async () => {
    keySet.keys = [jwk(first, 'a')];
    const client = await open(await sign(first));
    const ended = jest.fn();
    void client.ended.then(ended);
    keySet.answer((response) => response.writeHead(500).end());
    await fetched(3);
    expect(ended).not.toHaveBeenCalled();
    expect(console.error).toHaveBeenCalledWith(
      expect.stringMatching(/^JWKS_URL cannot be fetched: /),
    );
    // And ends when that is over, if the key has been withdrawn meanwhile.
    keySet.reset();
    await client.ended;
  });
});

describe('a key of a key set', () => {
  const QUICK = { maxAgeMs: 30, cooldownMs: 0 };

  async function grantsFor(
    signing: Signing = { kid: 'a' },
    options: RemoteKeysOptions = QUICK,
  ): Promise<Grants> {
    const keys = readKeys({ JWKS_URL: keySet.url }, options);
    return verifyToken(await sign(first, signing), keys?.subscriber as never);
  }

  test.each<[string, Signing, () => void]>([
    ['nothing is left', { kid: 'a' }, () => (keySet.keys = [])],
    ['another key has its name', { kid: 'a' }, () => (keySet.keys = [jwk(second, 'a')])],
    ['it has another name', { kid: 'a' }, () => (keySet.keys = [jwk(first, 'b')])],
    [
      'it is for encryption',
      { kid: 'a' },
      () => (keySet.keys = [{ ...jwk(first, 'a'), use: 'enc' }]),
    ],
    [
      'it is for another algorithm',
      {},
      () => (keySet.keys = [{ ...jwk(first, 'a'), alg: 'RS256' }]),
    ],
    [
      'several others could have verified a token without a name',
      {},
      () => (keySet.keys = [jwk(second, 'b'), jwk(pair(), 'c')]),
    ],
  ])('counts as withdrawn when %s', async (_, signing, withdraw) => {
    keySet.keys = [jwk(first, 'a')];
    const { onKeyWithdrawn } = await grantsFor(signing);
    withdraw();
    await new Promise<void>((resolve) => onKeyWithdrawn?.(resolve));
  });

  test.each<[string, Signing, () => void]>([
    ['others come before it', { kid: 'a' }, () => keySet.keys.unshift(jwk(second, 'b'))],
    [
      'another of the same name comes before it',
      { kid: 'a' },
      () => keySet.keys.unshift(jwk(second, 'a')),
    ],
    ['its tokens need no name, and it has another', {}, () => (keySet.keys = [jwk(first, 'z')])],
    [
      'its server redirects',
      { kid: 'a' },
      () => keySet.answer((response) => response.writeHead(302, { Location: '/' }).end()),
    ],
    [
      'its server sends no key set',
      { kid: 'a' },
      () => keySet.answer((response) => response.end('{}')),
    ],
    [
      'its server sends nonsense',
      { kid: 'a' },
      () => keySet.answer((response) => response.end('<html>')),
    ],
    [
      'its server cuts connections',
      { kid: 'a' },
      () => keySet.answer((response) => response.destroy()),
    ],
  ])('does not count as withdrawn when %s', async (_, signing, change) => {
    keySet.keys = [jwk(first, 'a')];
    const { onKeyWithdrawn } = await grantsFor(signing);
    const withdrawn = jest.fn();
    change();
    const cancel = onKeyWithdrawn?.(withdrawn);
    await fetched(4);
    expect(withdrawn).not.toHaveBeenCalled();
    cancel?.();
  });

  test('that went between a token and its stream is told at once', async () => {
    keySet.keys = [jwk(first, 'a')];
    const keys = readKeys({ JWKS_URL: keySet.url }, { maxAgeMs: 600_000, cooldownMs: 0 });
    const verify = async (of: typeof first, kid: string) =>
      verifyToken(await sign(of, { kid }), keys?.subscriber as never);
    const { onKeyWithdrawn } = await verify(first, 'a');
    keySet.keys = [jwk(second, 'b')];
    await verify(second, 'b');
    await new Promise<void>((resolve) => onKeyWithdrawn?.(resolve));
  });

  test('is told of once to each, and not to those who have gone', async () => {
    keySet.keys = [jwk(first, 'a')];
    const { onKeyWithdrawn } = await grantsFor();
    const [stays, goes] = [jest.fn(), jest.fn()];
    const told = new Promise<void>((resolve) => onKeyWithdrawn?.(resolve));
    onKeyWithdrawn?.(stays);
    onKeyWithdrawn?.(stays);
    onKeyWithdrawn?.(goes)();
    keySet.keys = [];
    await told;
    await new Promise(setImmediate);
    expect(stays).toHaveBeenCalledTimes(2);
    expect(goes).not.toHaveBeenCalled();
  });

  test('is asked for by one timer while streams are open, and by none when all have closed', async () => {
    keySet.keys = [jwk(first, 'a')];
    const { onKeyWithdrawn } = await grantsFor();
    expect(keySet.requests).toBe(1);
    const set = jest.spyOn(globalThis, 'setTimeout');
    const cancels = Array.from({ length: 1_000 }, () => onKeyWithdrawn?.(() => undefined));
    expect(set).toHaveBeenCalledTimes(1);
    expect(set.mock.results.map(({ value }) => (value as NodeJS.Timeout).hasRef())).toEqual([
      false,
    ]);
    await fetched(3);
    for (const cancel of cancels) cancel?.();
    const { requests } = keySet;
    // Ten times as long as it would take.
    await new Promise((resolve) => setTimeout(resolve, 300));
    // One may have been under way.
    expect(keySet.requests).toBeLessThanOrEqual(requests + 1);
    // And again for those who come later.
    onKeyWithdrawn?.(() => undefined);
    await fetched(2);
    keySet.keys = [];
    await new Promise<void>((resolve) => onKeyWithdrawn?.(resolve));
  });

  test('does not end anything that was signed with a secret', async () => {
    const keys = readKeys({ JWT_KEY: 'a secret of these tests, 32 bytes or more' });
    const token = new SignJWT({}).setProtectedHeader({ alg: 'HS256' });
    const signed = await token.sign(Buffer.from('a secret of these tests, 32 bytes or more'));
    const grants = await verifyToken(signed, keys?.subscriber as never);
    expect(grants.onKeyWithdrawn).toBeUndefined();
  });
});
