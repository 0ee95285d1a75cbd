import { createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import request from 'supertest';
import { readKeys } from '../src/auth/keys.js';
import { VerifiedTokens } from '../src/auth/verified-tokens.js';
import type { Service } from '../src/service.js';
import { collectGarbage } from './support/heap.js';
import { jwk, type KeySetServer, startKeySet } from './support/key-set.js';
import { JWT_KEY, startTestService } from './support/server.js';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ALL = { mercure: { publish: ['*'], subscribe: ['*'] } };

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A token whose header and claims are any JSON text, signed with any secret. */
function hmac(header: unknown, claims: unknown, secret: string | Buffer = JWT_KEY): string {
  const input = `${encode(header)}.${encode(claims)}`;
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
}

function rs256(
  header: unknown,
  claims: unknown,
  { privateKey }: { privateKey: KeyObject },
): string {
  const input = `${encode(header)}.${encode(claims)}`;
  return `${input}.${signBytes('sha256', Buffer.from(input), privateKey).toString('base64url')}`;
}

let log: ReturnType<typeof jest.spyOn>;
beforeAll(() => {
  log = jest.spyOn(console, 'error').mockImplementation(() => undefined);
});
afterAll(() => {
  jest.restoreAllMocks();
});

/** Presents a token in every way; each answer must be the same refusal, and nothing else be logged. */
async function refused(url: string, token: string): Promise<string> {
  const hub = request(url);
  const answers = [
    await hub.post('/hub').query({ authorization: token }).type('form').send('topic=a'),
    await hub.get('/hub').query({ topic: 'a', authorization: token }),
    await hub.get('/hub/subscriptions').query({ authorization: token }),
  ];
  const details = answers.map(({ status, body }) => ({ status, detail: body.detail }));
  expect(details).toEqual(details.map(() => ({ status: 401, detail: expect.any(String) })));
  expect(new Set(details.map(({ detail }) => detail)).size).toBe(1);
  for (const { headers, text } of answers) {
    expect(headers['www-authenticate']).toMatch(
      /^Bearer realm="koa-sse-hub", error="invalid_token", error_description="[\x20-\x7e]+"$/,
    );
    expect(text).not.toMatch(/ {4}at |node_modules|\.js/);
  }
  for (const [line] of log.mock.calls) {
    expect(line).toMatch(/^127\.0\.0\.1 is refused: (GET|POST) \/hub\S* is answered 401\. /);
    expect(line).not.toContain(token.length > 20 ? token.slice(0, 20) : `"${token}"`);
  }
  return details[0]?.detail;
}

describe('where tokens are signed with a secret, the service refuses with a reason', () => {
  let service: Service;
  beforeAll(async () => {
    service = await startTestService({ SUBSCRIPTIONS: 'true' });
  });
  afterAll(() => service.stop());

  const HS = { alg: 'HS256' };
  const good = () => hmac(HS, ALL);
  const MALFORMED = /^The token is not a well-formed JSON Web Token\.$/;
  const ALGORITHM = /^The token's algorithm is not allowed\. Allowed: HS256, HS384, HS512\.$/;
  const SIGNATURE = /^The token's signature does not match the key\.$/;
  const CLAIM = /^The token's .* is (malformed|not a number)/;

  test.each<[string, () => string, RegExp]>([
    ['none without a signature', () => `${encode({ alg: 'none' })}.${encode(ALL)}.`, ALGORITHM],
    ['none in another case', () => hmac({ alg: 'nOnE' }, ALL), ALGORITHM],
    ['an algorithm with a space', () => hmac({ alg: 'HS256 ' }, ALL), ALGORITHM],
    ['an algorithm in small letters', () => hmac({ alg: 'hs256' }, ALL), ALGORITHM],
    ['an algorithm with a NUL', () => hmac({ alg: 'HS256\0' }, ALL), ALGORITHM],
    ['a list of algorithms', () => hmac({ alg: ['HS256'] }, ALL), MALFORMED],
    ['a number for the algorithm', () => hmac({ alg: 256 }, ALL), MALFORMED],
    ['null for the algorithm', () => hmac({ alg: null }, ALL), MALFORMED],
    ['no algorithm', () => hmac({}, ALL), MALFORMED],
    ['an algorithm by its prototype', () => hmac('{"__proto__":{"alg":"HS256"}}', ALL), MALFORMED],
    ['the name of a method as algorithm', () => hmac({ alg: 'toString' }, ALL), ALGORITHM],
    [
      'two algorithms, of which none wins',
      () => hmac('{"alg":"HS256","alg":"none"}', ALL),
      ALGORITHM,
    ],
    ['an algorithm of encryption', () => hmac({ alg: 'dir', enc: 'A256GCM' }, ALL), ALGORITHM],
    ['a signature of another algorithm', () => hmac({ alg: 'HS512' }, ALL), SIGNATURE],
    ['an empty secret', () => hmac(HS, ALL, ''), SIGNATURE],
    ['a secret with a line break', () => hmac(HS, ALL, `${JWT_KEY}\n`), SIGNATURE],
    [
      'claims changed after signing',
      () => {
        const [header, , signature] = good().split('.');
        return `${header}.${encode({ ...ALL, sub: 'x' })}.${signature}`;
      },
      SIGNATURE,
    ],
    [
      'a payload that is not encoded',
      () => hmac({ ...HS, b64: false, crit: ['b64'] }, ALL),
      MALFORMED,
    ],
    ['crit that is empty', () => hmac({ ...HS, crit: [] }, ALL), MALFORMED],
    ['crit that is no list', () => hmac({ ...HS, crit: 'b64' }, ALL), MALFORMED],
    ['crit of numbers', () => hmac({ ...HS, crit: [1] }, ALL), MALFORMED],
    ['crit of what is not known', () => hmac({ ...HS, crit: ['exp'], exp: 1 }, ALL), /\(crit\)/],
    ['crit of its prototype', () => hmac('{"alg":"HS256","crit":["__proto__"]}', ALL), /\(crit\)/],
    ['a header that is a list', () => hmac([HS], ALL), MALFORMED],
    ['a header that is null', () => hmac('null', ALL), MALFORMED],
    ['claims that are null', () => hmac(HS, 'null'), MALFORMED],
    ['claims that are a text', () => hmac(HS, '"mercure"'), MALFORMED],
    ['claims that are cut off', () => hmac(HS, '{"mercure":'), MALFORMED],
    ['padding', () => `${good()}=`, MALFORMED],
    ['a space at the end', () => `${good()} `, MALFORMED],
    ['a space in the signature', () => good().replace(/(.{5})$/, ' $1'), MALFORMED],
    ['a line break in the signature', () => good().replace(/(.{5})$/, '\n$1'), MALFORMED],
    [
      'stray bits in the signature',
      () => {
        const token = good();
        return token.slice(0, -1) + String.fromCharCode(token.charCodeAt(token.length - 1) + 1);
      },
      MALFORMED,
    ],
    ['two dots more', () => `${good()}..`, MALFORMED],
    [
      'JSON instead of its encoding',
      () => JSON.stringify({ protected: 'x', payload: 'y' }),
      MALFORMED,
    ],
    ['8,193 bytes', () => 'x'.repeat(8_193), /^The token is longer than the 8192 bytes allowed\.$/],
    ['a text for exp', () => hmac(HS, { ...ALL, exp: '4000000000' }), CLAIM],
    ['a list for exp', () => hmac(HS, { ...ALL, exp: [4_000_000_000] }), CLAIM],
    ['null for exp', () => hmac(HS, { ...ALL, exp: null }), CLAIM],
    ['true for nbf', () => hmac(HS, { ...ALL, nbf: true }), CLAIM],
    ['an object for iat', () => hmac(HS, { ...ALL, iat: {} }), CLAIM],
    ['a number for sub', () => hmac(HS, { ...ALL, sub: 7 }), CLAIM],
    ['a list for sub', () => hmac(HS, { ...ALL, sub: ['ada'] }), CLAIM],
    ['two exp, of which the later has passed', () => hmac(HS, '{"exp":4e9,"exp":1}'), /expired/],
    ['an exp beyond numbers, before all time', () => hmac(HS, '{"exp":-1e999}'), /^The token/],
    [
      'a claim under its other name that is bad',
      () => hmac(HS, { ...ALL, 'https://mercure.rocks/': 1 }),
      CLAIM,
    ],
    [
      'a text with a length for a list',
      () => hmac(HS, { mercure: { publish: { length: 1, 0: '*' } } }),
      CLAIM,
    ],
    ['lists in the list', () => hmac(HS, { mercure: { subscribe: [['*']] } }), CLAIM],
    [
      'a payload nested 65 deep',
      () => hmac(HS, `{"mercure":{"payload":${'['.repeat(65)}${']'.repeat(65)}}}`),
      /payload is malformed: Nested deeper than the 64 levels/,
    ],
    [
      'a payload nested 2,900 deep',
      () => hmac(HS, `{"mercure":{"payload":${'['.repeat(2_900)}${']'.repeat(2_900)}}}`),
      /payload is malformed: Nested deeper/,
    ],
    [
      'objects nested 1,000 deep',
      () => hmac(HS, `{"mercure":{"payload":${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}}}`),
      /payload is malformed: Nested deeper/,
    ],
    [
      'a list nested for publish',
      () => hmac(HS, `{"mercure":{"publish":${'['.repeat(2_900)}${']'.repeat(2_900)}}}`),
      CLAIM,
    ],
  ])('%s', async (_, make, reason) => {
    expect(await refused(service.url, make())).toMatch(reason);
  });

  test('but takes a payload nested 64 deep, and tells it', async () => {
    const payload = `${'['.repeat(64)}${']'.repeat(64)}`;
    const token = hmac(HS, `{"mercure":{"publish":["*"],"payload":${payload}}}`);
    const post = request(service.url).post('/hub').query({ authorization: token });
    expect((await post.type('form').send('topic=a')).status).toBe(200);
  });

  test('a header with a tab after Bearer has a token, too', async () => {
    const get = request(service.url).get('/hub?topic=a').set('Authorization', 'Bearer\tx');
    expect((await get).status).toBe(401);
  });
});

describe('where tokens are signed with a private key, the service refuses with a reason', () => {
  let service: Service;
  const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString();
  beforeAll(async () => {
    service = await startTestService({ JWT_KEY: pem, SUBSCRIPTIONS: 'true' });
  });
  afterAll(() => service.stop());

  test.each<[string, () => string]>([
    ['the public key as PEM as secret', () => hmac({ alg: 'HS256' }, ALL, pem)],
    ['the public key without its line break', () => hmac({ alg: 'HS256' }, ALL, pem.trim())],
    [
      'the public key as DER',
      () => hmac({ alg: 'HS256' }, ALL, rsa.publicKey.export({ type: 'spki', format: 'der' })),
    ],
    [
      'the modulus as secret',
      () => hmac({ alg: 'HS256' }, ALL, Buffer.from(jwk(rsa, 'a').n as string, 'base64url')),
    ],
    ['an EC signature', () => rs256({ alg: 'ES256' }, ALL, ec)],
    ['an empty signature', () => `${encode({ alg: 'RS256' })}.${encode(ALL)}.`],
    ['a signature of zeros', () => `${encode({ alg: 'RS256' })}.${encode(ALL)}.${'A'.repeat(342)}`],
    ['a short signature', () => `${encode({ alg: 'RS256' })}.${encode(ALL)}.AAAA`],
    ['the key of a stranger', () => rs256({ alg: 'RS256' }, ALL, stranger)],
    [
      'the key of a stranger, in the header',
      () => rs256({ alg: 'RS256', jwk: jwk(stranger, 'a') }, ALL, stranger),
    ],
    [
      'the key of a stranger, at an address in the header',
      () => rs256({ alg: 'RS256', jku: service.url, x5u: service.url }, ALL, stranger),
    ],
    ['PKCS#1 under the name of PSS', () => rs256({ alg: 'PS256' }, ALL, rsa)],
    ['another hash', () => rs256({ alg: 'RS512' }, ALL, rsa)],
  ])('%s', async (_, make) => {
    expect(await refused(service.url, make())).toMatch(/algorithm is not|does not match the key/);
  });
});

describe('where keys come from a key set, the service refuses with a reason', () => {
  let keySet: KeySetServer;
  let service: Service;
  beforeAll(async () => {
    keySet = await startKeySet();
    keySet.keys = [jwk(rsa, 'a'), jwk(ec, 'b')];
    const JWT_ISSUER = 'https://issuer.example';
    const env = { JWT_KEY: '', JWKS_URL: keySet.url, SUBSCRIPTIONS: 'true', JWT_ISSUER };
    service = await startTestService(env);
  });
  afterEach(() => {
    log.mockClear();
  });
  afterAll(async () => {
    await service.stop();
    await keySet.stop();
  });

  const RS = { alg: 'RS256' };
  const KIDS: [string, unknown][] = [
    ['a path', '../../../../etc/passwd'],
    ['SQL', "a' OR '1'='1"],
    ['a shell command', 'a; touch /tmp/x'],
    ['a URL', 'http://127.0.0.1/'],
    ['a name that every object has', '__proto__'],
    ['another one', 'constructor'],
    ['an empty text', ''],
    ['a text of 5,000 bytes', 'a'.repeat(5_000)],
    ['line breaks', 'a\r\nSet-Cookie: b=c'],
    ['a number', 1],
    ['null', null],
    ['a list', ['a']],
    ['an object', { toString: 'a' }],
    ['the name of a key of another kind', 'b'],
  ];
  test.each(KIDS)('kid is %s', async (_, kid) => {
    expect(await refused(service.url, rs256({ ...RS, kid }, ALL, rsa))).toMatch(
      /signed with a key that is not known here/,
    );
  });

  test('a good signature without the issuer', async () => {
    expect(await refused(service.url, rs256({ ...RS, kid: 'a' }, ALL, rsa))).toMatch(
      /^The token's iss/,
    );
  });

  test('many names that are not known make one fetch, and those that are no text make none', async () => {
    const url = new URL(keySet.url);
    const fresh = await startTestService({ JWT_KEY: '', JWKS_URL: url.href });
    try {
      const before = keySet.requests;
      for (const kid of [1, null, ['a'], {}]) {
        const token = rs256({ ...RS, kid }, ALL, rsa);
        const got = await request(fresh.url)
          .get('/hub')
          .query({ topic: 'a', authorization: token });
        expect(got.status).toBe(401);
      }
      expect(keySet.requests).toBe(before);
      for (let i = 0; i < 20; i++) {
        const token = rs256({ ...RS, kid: `k${i}` }, ALL, stranger);
        await request(fresh.url).get('/hub').query({ topic: 'a', authorization: token });
      }
      expect(keySet.requests).toBe(before + 1);
    } finally {
      await fresh.stop();
    }
  });
});

describe('tokens that were good', () => {
  test('are remembered in bounded memory, however large they are and however many', async () => {
    const keys = readKeys({ JWT_KEY });
    const verified = new VerifiedTokens(keys?.publisher as never);
    const tokenOf = (n: number) => {
      const list = Array.from({ length: 100 }, (_, i) => `{a}${n}-${i}{b}{c}`.padEnd(25, '-'));
      return hmac({ alg: 'HS256' }, { mercure: { publish: list, subscribe: list } });
    };
    expect(tokenOf(999).length).toBeGreaterThan(7_000);
    await verified.verify(tokenOf(0));
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let n = 1; n <= 600; n++) await verified.verify(tokenOf(n));
    collectGarbage();
    // 4 MB. With a bound in characters alone 7 to 17 MB, without one 120 MB.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(6_000_000);
    await verified.verify(tokenOf(600));
  });
});

test('grants that cost too much to match are refused, and plain ones are not', async () => {
  const keys = readKeys({ JWT_KEY });
  const verified = new VerifiedTokens(keys?.subscriber as never);
  const tokenOf = (subscribe: string[]) => hmac({ alg: 'HS256' }, { mercure: { subscribe } });
  const costly = Array.from(
    { length: 45 },
    (_, n) => `{${Array.from({ length: 12 }, (_, m) => `v${n}${m}:9`).join('}{')}}`,
  );
  await expect(verified.verify(tokenOf(costly))).rejects.toThrow(
    /costs more than the 5000 allowed/,
  );
  const plain = Array.from({ length: 100 }, (_, n) => `https://example.com/${n}/{id}`);
  expect((await verified.verify(tokenOf(plain))).subscribe).toHaveLength(100);
});
