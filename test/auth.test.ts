import { createHmac, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { type JWTPayload, SignJWT } from 'jose';
import Koa from 'koa';
import request from 'supertest';
import { verifyToken } from '../src/auth/grants.js';
import { type KeySettings, readKeys, readSigningKey } from '../src/auth/keys.js';
import type { RemoteKeysOptions } from '../src/auth/remote-keys.js';
import { createDevelopmentKey, signToken } from '../src/auth/sign.js';
import { ConfigError } from '../src/config.js';
import { createAuthorizer, requireTopic } from '../src/mercure/auth.js';
import { TOKEN_COOKIE } from '../src/mercure/token.js';
import { problems } from '../src/requests/problem.js';
import { jwk, type KeySetServer, startKeySet } from './support/key-set.js';
import { serve, type TestServer } from './support/server.js';

const SECRET = '!ChangeThisMercureHubJWTSecretKey!';
const OTHER_SECRET = 'another secret of at least 32 bytes';
const TOPIC = 'https://example.com/books/1';
const ALL = { publish: ['*'], subscribe: ['*'] };

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' });
const ed25519 = generateKeyPairSync('ed25519');

const pem = (key: KeyObject) =>
  key.export({ type: key.type === 'public' ? 'spki' : 'pkcs8', format: 'pem' }).toString();
const now = () => Math.floor(Date.now() / 1_000);

let running: TestServer[] = [];
afterEach(async () => {
  await Promise.all(running.map((server) => server.close()));
  running = [];
});

interface AppOptions extends RemoteKeysOptions {
  readonly anonymous?: boolean;
  readonly origins?: '*' | ReadonlySet<string>;
  readonly proxy?: boolean;
}

/** An app that publishes with POST and subscribes with GET, to the topics of its query. */
async function start(settings: KeySettings, options: AppOptions = {}): Promise<string> {
  const { anonymous = false, origins = '*', proxy = false } = options;
  const keys = readKeys(settings, options);
  const authorizer = createAuthorizer({ keys, anonymous, origins });
  const app = new Koa({ proxy });
  app.use(problems());
  app.use(async (ctx) => {
    const topics = [ctx.query.topic ?? TOPIC].flat();
    if (ctx.method === 'POST') {
      const grants = await authorizer.publisher(ctx);
      for (const topic of topics) requireTopic(ctx, grants.publish, topic);
      ctx.body = { publish: grants.publish.map(({ text }) => text) };
    } else {
      const grants = await authorizer.subscriber(ctx);
      ctx.body = { ...grants, subscribe: grants?.subscribe.map(({ text }) => text) ?? 'anonymous' };
    }
  });
  const server = await serve(app);
  running.push(server);
  return server.url;
}

interface Signing {
  readonly key?: KeyObject | string;
  readonly header?: Record<string, unknown>;
  readonly claims?: JWTPayload;
}

/** A good token with the demo secret, but for what is given. */
function sign(mercure: unknown = ALL, { key = SECRET, header = {}, claims = {} }: Signing = {}) {
  return new SignJWT({ mercure, ...claims })
    .setProtectedHeader({ alg: 'HS256', ...header })
    .sign(typeof key === 'string' ? Buffer.from(key) : key);
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token of any header and payload, signed as HS256 with any secret. */
function forge(header: unknown, payload: unknown, secret = SECRET): string {
  const text = (value: unknown) => (typeof value === 'string' ? value : encode(value));
  const input = `${text(header)}.${text(payload)}`;
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
}

const post = (url: string, token?: string, topics: string[] = []) => {
  const call = request(url).post('/').query({ topic: topics });
  return token === undefined ? call : call.set('Authorization', `Bearer ${token}`);
};
const get = (url: string, token?: string) => {
  const call = request(url).get('/');
  return token === undefined ? call : call.set('Authorization', `Bearer ${token}`);
};

describe('publishing', () => {
  test('needs a token, and says so without an error code', async () => {
    const response = await post(await start({ JWT_KEY: SECRET }, { anonymous: true }));
    expect(response.status).toBe(401);
    expect(response.headers['www-authenticate']).toBe('Bearer realm="koa-sse-hub"');
    expect(response.type).toBe('application/problem+json');
    expect(response.body).toEqual({
      title: 'Unauthorized',
      status: 401,
      detail: 'Publishing needs a token: send it as Authorization: Bearer TOKEN.',
    });
  });

  test('needs a token that covers every topic', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const token = await sign({ publish: ['https://example.com/books/{id}', 'chat'] });
    await post(url, token, ['chat', TOPIC]).expect(200);

    const response = await post(url, token, ['chat', 'https://example.com/cars/1']);
    expect(response.status).toBe(403);
    expect(response.body.detail).toBe('The token does not cover "https://example.com/cars/1".');
    expect(response.headers['www-authenticate']).toBe(
      'Bearer realm="koa-sse-hub", error="insufficient_scope", ' +
        `error_description="The token does not cover 'https://example.com/cars/1'."`,
    );
  });

  test.each([
    ['no claim at all', {}],
    ['a claim without publish', { mercure: { subscribe: ['*'] } }],
    ['no selector', { mercure: { publish: [] } }],
    ['null, as some libraries write it', { mercure: { publish: null, subscribe: null } }],
  ])('is not granted by %s', async (_, claims) => {
    const url = await start({ JWT_KEY: SECRET });
    expect((await post(url, forge({ alg: 'HS256' }, claims))).status).toBe(403);
  });

  test('a topic cannot forge a header', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const topic = 'a"\r\nSet-Cookie: b=c\u2028é\\';
    const response = await post(url, await sign({}), [topic]);
    expect(response.status).toBe(403);
    expect(response.headers['set-cookie']).toBeUndefined();
    expect(response.headers['www-authenticate']).toMatch(
      /^Bearer realm="koa-sse-hub", error="insufficient_scope", error_description="[^"\\]*"$/,
    );
    expect(response.body.detail).toContain(JSON.stringify(topic));
  });
});

describe('subscribing', () => {
  test('is granted what the token says', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const exp = now() + 100;
    const mercure = { subscribe: ['https://example.com/{id}', 'chat'], payload: { user: 'Ann' } };
    const response = await get(url, await sign(mercure, { claims: { exp, sub: 'ann' } }));
    expect(response.body).toEqual({
      publish: [],
      subscribe: ['https://example.com/{id}', 'chat'],
      payload: { user: 'Ann' },
      subject: 'ann',
      expiresAt: exp * 1_000,
    });
  });

  test('without a token is for where anonymous subscribers are allowed', async () => {
    const closed = await get(await start({ JWT_KEY: SECRET }));
    expect(closed.status).toBe(401);
    expect(closed.headers['www-authenticate']).toBe('Bearer realm="koa-sse-hub"');
    expect(closed.body.detail).toMatch(/^Subscribing needs a token/);

    const open = await get(await start({ JWT_KEY: SECRET }, { anonymous: true }));
    expect(open.body).toEqual({ subscribe: 'anonymous' });
  });

  test('with a bad token is refused even there', async () => {
    const url = await start({ JWT_KEY: SECRET }, { anonymous: true });
    expect((await get(url, 'bad')).status).toBe(401);
  });
});

describe('a token', () => {
  const read = async (url: string, token: string) => [
    await request(url).get('/').set('Authorization', `bEaReR  ${token}`),
    await request(url).get('/').query({ authorization: token }),
    await request(url).get('/').set('Cookie', `a=b; ${TOKEN_COOKIE}=${token}`),
  ];

  test('is taken from the header, the query or the cookie', async () => {
    const url = await start({ JWT_KEY: SECRET });
    for (const response of await read(url, await sign({ subscribe: ['chat'] }))) {
      expect(response.body.subscribe).toEqual(['chat']);
    }
    expect(TOKEN_COOKIE).toBe('mercureAuthorization');
  });

  test('in the header goes before one in the query, and that before one in the cookie', async () => {
    const url = await start({ JWT_KEY: SECRET }, { anonymous: true });
    const [header, query, cookie] = await Promise.all(
      ['header', 'query', 'cookie'].map((subscribe) => sign({ subscribe: [subscribe] })),
    );
    const asked = (authorization: string | undefined) =>
      request(url)
        .get('/')
        .query(authorization === undefined ? {} : { authorization })
        .set('Cookie', `${TOKEN_COOKIE}=${cookie}`);
    expect((await asked(query).set('Authorization', `Bearer ${header}`)).body.subscribe).toEqual([
      'header',
    ]);
    expect((await asked(query)).body.subscribe).toEqual(['query']);
    expect((await asked(undefined)).body.subscribe).toEqual(['cookie']);
    // A bad one is not made up for by a good one further down.
    expect((await asked(query).set('Authorization', 'Bearer')).status).toBe(401);
    expect((await asked('')).status).toBe(401);
  });

  test('is not looked for in an Authorization of another scheme', async () => {
    const url = await start({ JWT_KEY: SECRET }, { anonymous: true });
    const basic = request(url).get('/').set('Authorization', 'Basic YTpi');
    expect((await basic).body.subscribe).toBe('anonymous');
    const both = request(url)
      .get('/')
      .query({ authorization: await sign() });
    expect((await both.set('Authorization', 'Basic YTpi')).body.subscribe).toEqual(['*']);
  });

  test('given twice in the query is refused', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const token = await sign();
    const response = await request(url).get(`/?authorization=${token}&authorization=${token}`);
    expect(response.status).toBe(401);
    expect(response.body.detail).toBe('There is more than one token in the query.');
  });

  test('of 8 KiB is read, and a longer one refused, from wherever it comes', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const long = (size: number) => sign(ALL, { claims: { filler: 'x'.repeat(size) } });
    for (const response of await read(url, await long(6_000))) expect(response.status).toBe(200);
    for (const response of await read(url, await long(6_200))) {
      expect(response.status).toBe(401);
      expect(response.body.detail).toBe('The token is longer than the 8192 bytes allowed.');
    }
  });

  test('is good under either name of its claim, and the one with a namespace wins', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const name = 'https://mercure.rocks/';
    const only = forge({ alg: 'HS256' }, { [name]: { subscribe: ['a'] } });
    expect((await get(url, only)).body.subscribe).toEqual(['a']);
    const both = await sign({ subscribe: ['b'] }, { claims: { [name]: { subscribe: ['a'] } } });
    expect((await get(url, both)).body.subscribe).toEqual(['a']);
  });

  test('is good until exp, to the second, and from nbf, give or take half a minute', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const status = async (claims: JWTPayload) =>
      (await get(url, await sign(ALL, { claims }))).status;
    expect(await status({ exp: now() + 5 })).toBe(200);
    expect(await status({ exp: now() - 1 })).toBe(401);
    expect(await status({ nbf: now() + 20 })).toBe(200);
    expect(await status({ nbf: now() + 40 })).toBe(401);
    expect(await status({ nbf: now() - 40, exp: now() + 40 })).toBe(200);
  });
});

describe('a bad token', () => {
  const publicPem = pem(rsa.publicKey);

  test.each<[string, string | (() => Promise<string>), string]>([
    ['nothing', '', 'The token is empty.'],
    ['no JWT', 'nonsense', 'The token is not a well-formed JSON Web Token.'],
    ['too few parts', 'e30.e30', 'The token is not a well-formed JSON Web Token.'],
    ['an encrypted one', 'e30.e30.e30.e30.e30', 'The token is not a well-formed JSON Web Token.'],
    ['malformed Base64', 'é!.!.!', 'The token is not a well-formed JSON Web Token.'],
    ['a malformed header', forge('e30', {}), 'The token is not a well-formed JSON Web Token.'],
    [
      'a header that is no JSON',
      forge('bm8', {}),
      'The token is not a well-formed JSON Web Token.',
    ],
    [
      'claims that are no JSON',
      forge({ alg: 'HS256' }, 'bm8'),
      'The token is not a well-formed JSON Web Token.',
    ],
    [
      'claims that are no object',
      forge({ alg: 'HS256' }, [1]),
      'The token is not a well-formed JSON Web Token.',
    ],
    [
      'none',
      `${encode({ alg: 'none' })}.${encode({ mercure: ALL })}.`,
      "The token's algorithm is not allowed. Allowed: HS256, HS384, HS512.",
    ],
    [
      'None',
      `${encode({ alg: 'None' })}.${encode({ mercure: ALL })}.`,
      "The token's algorithm is not allowed. Allowed: HS256, HS384, HS512.",
    ],
    [
      'a signature cut off',
      `${forge({ alg: 'HS256' }, { mercure: ALL }).split('.', 2).join('.')}.`,
      "The token's signature does not match the key.",
    ],
    [
      'a wrong secret',
      () => sign(ALL, { key: OTHER_SECRET }),
      "The token's signature does not match the key.",
    ],
    [
      'an unknown extension',
      forge({ alg: 'HS256', crit: ['x'], x: 1 }, { mercure: ALL }),
      'The token needs an extension (crit) that is not known here.',
    ],
    [
      'a bare payload',
      forge({ alg: 'HS256', crit: ['b64'], b64: false }, { mercure: ALL }),
      'The token is not a well-formed JSON Web Token.',
    ],
    [
      'another algorithm',
      () => sign(ALL, { key: rsa.privateKey, header: { alg: 'RS256' } }),
      "The token's algorithm is not allowed. Allowed: HS256, HS384, HS512.",
    ],
    [
      'an old one',
      () => sign(ALL, { claims: { exp: 1_700_000_000 } }),
      'The token expired at 2023-11-14T22:13:20.000Z.',
    ],
    [
      'an ancient one',
      () => sign(ALL, { claims: { exp: -1e300 } }),
      'The token expired at -271821-04-20T00:00:00.000Z.',
    ],
    [
      'an early one',
      () => sign(ALL, { claims: { nbf: 4_000_000_000 } }),
      'The token is not valid before 2096-10-02T07:06:40.000Z.',
    ],
    [
      'a never one',
      () => sign(ALL, { claims: { nbf: 1e300 } }),
      'The token is not valid before +275760-09-13T00:00:00.000Z.',
    ],
    [
      'an exp in words',
      forge({ alg: 'HS256' }, { exp: 'soon' }),
      "The token's exp is not a number.",
    ],
    [
      'an nbf in words',
      forge({ alg: 'HS256' }, { nbf: 'soon' }),
      "The token's nbf is not a number.",
    ],
  ])('is 401 and told why: %s', async (_, given, detail) => {
    const token = typeof given === 'string' ? given : await given();
    const response = await request(await start({ JWT_KEY: SECRET }, { anonymous: true }))
      .get('/')
      .query({ authorization: token });
    expect(response.status).toBe(401);
    expect(response.body).toEqual({ title: 'Unauthorized', status: 401, detail });
    expect(response.headers['www-authenticate']).toBe(
      `Bearer realm="koa-sse-hub", error="invalid_token", error_description="${detail}"`,
    );
  });

  test.each([
    ['RSA', rsa.publicKey, 'RS256, RS384, RS512, PS256, PS384, PS512'],
    ['EC', p256.publicKey, 'ES256'],
    ['Ed25519', ed25519.publicKey, 'EdDSA, Ed25519'],
  ])('is one signed with the public %s key as if that were a secret', async (_, key, allowed) => {
    const url = await start({ JWT_KEY: pem(key) });
    const der = key.export({ type: 'spki', format: 'der' });
    for (const secret of [pem(key), pem(key).trim(), pem(key).replaceAll('\n', '\\n'), der]) {
      const input = `${encode({ alg: 'HS256' })}.${encode({ mercure: ALL })}`;
      const signature = createHmac('sha256', secret).update(input).digest('base64url');
      const response = await post(url, `${input}.${signature}`);
      expect(response.status).toBe(401);
      expect(response.body.detail).toBe(
        `The token's algorithm is not allowed. Allowed: ${allowed}.`,
      );
    }
    await post(url, `${encode({ alg: 'none' })}.${encode({ mercure: ALL })}.`).expect(401);
  });

  test.each(['jwk', 'x5c', 'jku'])('is one that brings its own key: %s', async (parameter) => {
    const url = await start({ JWT_KEY: publicPem });
    const own = { jwk: otherRsa.publicKey.export({ format: 'jwk' }), x5c: [], jku: 'http://x' };
    const header = { alg: 'RS256', [parameter]: own[parameter as keyof typeof own] };
    const token = await sign(ALL, { key: otherRsa.privateKey, header });
    const response = await post(url, token);
    expect(response.status).toBe(401);
    expect(response.body.detail).toBe("The token's signature does not match the key.");
  });

  test.each<[string, unknown, RegExp]>([
    ['a text', 'all', /^The token's mercure is malformed: /],
    ['a list', ['*'], /^The token's mercure is malformed: /],
    ['a text for a list', { publish: '*' }, /^The token's mercure\.publish is malformed: /],
    ['an object for a selector', { publish: ['a', {}] }, /^The token's mercure\.publish\.1 is /],
    ['a long selector', { subscribe: ['x'.repeat(1_025)] }, /subscribe\.0 .*1024 bytes allowed/],
    ['a huge template', { subscribe: ['{a}'.repeat(21)] }, /subscribe\.0 .*20 variables allowed/],
    ['many selectors', { subscribe: Array(101).fill('a') }, /subscribe .*100 topic selectors/],
  ])('is one whose claim is %s', async (_, mercure, detail) => {
    const response = await get(await start({ JWT_KEY: SECRET }), await sign(mercure));
    expect(response.status).toBe(401);
    expect(response.body.detail).toMatch(detail);
    expect(response.headers['www-authenticate']).toContain('error="invalid_token"');
  });

  test('is one for the other kind, where publishers and subscribers have keys of their own', async () => {
    const url = await start({
      PUBLISHER_JWT_KEY: pem(rsa.publicKey),
      SUBSCRIBER_JWT_KEY: SECRET,
    });
    const publisher = await sign(ALL, { key: rsa.privateKey, header: { alg: 'PS512' } });
    const subscriber = await sign();
    await post(url, publisher).expect(200);
    await get(url, subscriber).expect(200);
    await post(url, subscriber).expect(401);
    await get(url, publisher).expect(401);
  });

  test('is never answered 5xx, echoed, or granted anything, whatever it is', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const anyClaims = fc.oneof(
      fc.json(),
      fc
        .record(
          { mercure: fc.jsonValue(), exp: fc.jsonValue(), nbf: fc.jsonValue() },
          { requiredKeys: [] },
        )
        .map((claims) => JSON.stringify(claims)),
      fc.constantFrom(
        '{"exp":1e999}',
        '{"exp":-1e999}',
        '{"nbf":1e999}',
        '{"__proto__":{"mercure":{}}}',
      ),
    );
    const anyToken = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .tuple(fc.oneof(fc.json(), fc.constant('{"alg":"HS256"}')), anyClaims)
        .map((parts) =>
          forge(
            ...(parts.map((part) => Buffer.from(part).toString('base64url')) as [string, string]),
          ),
        ),
    );
    await fc.assert(
      fc.asyncProperty(anyToken, async (token) => {
        const response = await request(url).post('/').query({ authorization: token });
        expect([401, 403]).toContain(response.status);
        const answer = response.text + JSON.stringify(response.headers);
        if (token.length > 50) expect(answer).not.toContain(token);
        const challenge = response.headers['www-authenticate'];
        expect(challenge).toMatch(
          /^Bearer realm="koa-sse-hub", error="\w+", error_description="[^"]+"$/,
        );
      }),
      { numRuns: 300 },
    );
  });
});

describe('a token in a cookie', () => {
  const publish = async (url: string, headers: Record<string, string>) =>
    request(url)
      .post('/')
      .set({ Cookie: `${TOKEN_COOKIE}=${await sign()}`, ...headers });

  test('publishes from a listed origin or our own, told by Origin or else by Referer', async () => {
    const origins = new Set(['https://app.example']);
    const url = await start({ JWT_KEY: SECRET }, { origins });
    const { host } = new URL(url);
    for (const headers of [
      { Origin: 'https://app.example' },
      { Referer: 'https://app.example/some/page?a=b' },
      { Origin: `http://${host}` },
      // The proxy before us has ended its TLS.
      { Origin: `https://${host}` },
      { Referer: `${url}/page` },
      { Origin: 'https://hub.example', Host: 'hub.example:443' },
    ]) {
      expect({ headers, status: (await publish(url, headers)).status }).toEqual({
        headers,
        status: 200,
      });
    }
  });

  test.each([
    [{}],
    [{ Origin: 'null' }],
    [{ Origin: 'https://evil.example' }],
    [{ Origin: 'https://app.example.evil.example' }],
    [{ Origin: 'http://app.example' }],
    [{ Origin: 'https://evil.example', Referer: 'https://app.example/' }],
    [{ Referer: 'https://evil.example/?https://app.example' }],
    [{ Referer: 'no URL' }],
    [{ Origin: 'https://hub.example:8443', Host: 'hub.example' }],
    [{ Origin: 'file://hub.example', Host: 'hub.example' }],
  ])('does not publish from anywhere else: %j', async (headers) => {
    for (const origins of ['*', new Set(['https://app.example'])] as const) {
      const response = await publish(await start({ JWT_KEY: SECRET }, { origins }), headers);
      expect(response.status).toBe(403);
      expect(response.body.detail).toMatch(/^A token in a cookie may/);
      expect(response.headers['www-authenticate']).toContain('error="invalid_request"');
    }
  });

  test('does not publish from our own host on plain HTTP once that is known to be on HTTPS', async () => {
    const url = await start({ JWT_KEY: SECRET }, { proxy: true });
    const proxied = { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'hub.example' };
    const https = await publish(url, { ...proxied, Origin: 'https://hub.example' });
    expect(https.status).toBe(200);
    const http = await publish(url, { ...proxied, Origin: 'http://hub.example' });
    expect(http.status).toBe(403);
  });

  test('needs no origin to subscribe; nor does a token in the header or the query to publish', async () => {
    const url = await start({ JWT_KEY: SECRET });
    const token = await sign();
    await request(url).get('/').set('Cookie', `${TOKEN_COOKIE}=${token}`).expect(200);
    await post(url, token).set('Origin', 'https://evil.example').expect(200);
    await request(url).post('/').query({ authorization: token }).expect(200);
  });
});

describe('keys', () => {
  test.each([
    ['RS256', rsa],
    ['RS384', rsa],
    ['RS512', rsa],
    ['PS256', rsa],
    ['PS384', rsa],
    ['PS512', rsa],
    ['ES256', p256],
    ['ES384', p384],
    ['ES512', p521],
    ['EdDSA', ed25519],
    ['Ed25519', ed25519],
  ])(
    'verify %s with a public key as PEM, with line breaks or with \\n for them',
    async (alg, pair) => {
      const token = await sign(ALL, { key: pair.privateKey, header: { alg } });
      const text = pem(pair.publicKey);
      for (const JWT_KEY of [text, text.replaceAll('\n', '\\n'), `\n${text}\n`]) {
        await post(await start({ JWT_KEY }), token).expect(200);
      }
    },
  );

  test.each(['HS256', 'HS384', 'HS512'])('verify %s with a secret', async (alg) => {
    await post(await start({ JWT_KEY: SECRET }), await sign(ALL, { header: { alg } })).expect(200);
  });

  test('verify only what JWT_ALGORITHMS names', async () => {
    const url = await start({ JWT_KEY: SECRET, JWT_ALGORITHMS: 'HS384, HS512' });
    await post(url, await sign(ALL, { header: { alg: 'HS512' } })).expect(200);
    const response = await post(url, await sign());
    expect(response.status).toBe(401);
    expect(response.body.detail).toContain('Allowed: HS384, HS512.');
  });

  test('may be short for a first try, with a warning', () => {
    const warnings: string[] = [];
    const keys = readKeys({ JWT_KEY: 'short' }, { log: ({ message }) => warnings.push(message) });
    expect(keys).toBeDefined();
    expect(warnings).toEqual([expect.stringMatching(/^JWT_KEY is short enough to be guessed/)]);
  });

  const smallRsa = () => pem(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey);
  const bitcoin = () => pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey);
  test.each<[string, () => KeySettings, RegExp]>([
    [
      'a short secret, in production',
      () => ({ JWT_KEY: 'x'.repeat(31), NODE_ENV: 'production' }),
      /^JWT_KEY must have at least 32 bytes/,
    ],
    ['no PEM', () => ({ JWT_KEY: '-----BEGIN PUBLIC KEY-----\nno' }), /^JWT_KEY looks like PEM/],
    ['a private key', () => ({ JWT_KEY: pem(rsa.privateKey) }), /^JWT_KEY is a private key/],
    [
      'a public key as Base64',
      () => ({ JWT_KEY: rsa.publicKey.export({ type: 'spki', format: 'der' }).toString('base64') }),
      /^JWT_KEY is a public key, but not as PEM/,
    ],
    [
      'a public key as a JWK',
      () => ({ JWT_KEY: JSON.stringify(p256.publicKey.export({ format: 'jwk' })) }),
      /^JWT_KEY is a public key, but not as PEM/,
    ],
    [
      'a small RSA key',
      () => ({ JWT_KEY: smallRsa() }),
      /^JWT_KEY must have at least 2048 bits, not 1024/,
    ],
    [
      'a curve of no algorithm',
      () => ({ JWT_KEY: bitcoin() }),
      /^JWT_KEY must be an RSA key, an EC key/,
    ],
    [
      'two ways at once',
      () => ({ JWT_KEY: SECRET, JWKS_URL: 'https://a.example' }),
      /^JWT_KEY, .* exclude each other/,
    ],
    [
      'a third key',
      () => ({ JWT_KEY: SECRET, SUBSCRIBER_JWT_KEY: SECRET }),
      /^JWT_KEY, .* exclude each other/,
    ],
    [
      'half a pair',
      () => ({ SUBSCRIBER_JWT_KEY: SECRET }),
      /^PUBLISHER_JWT_KEY and SUBSCRIBER_JWT_KEY must both be set/,
    ],
    [
      'a bad one of a pair',
      () => ({ PUBLISHER_JWT_KEY: OTHER_SECRET, SUBSCRIBER_JWT_KEY: 'x', NODE_ENV: 'production' }),
      /^SUBSCRIBER_JWT_KEY must have/,
    ],
    ['no URL', () => ({ JWKS_URL: 'keys.json' }), /^JWKS_URL must be a URL/],
    ['a local file', () => ({ JWKS_URL: 'file:///keys.json' }), /^JWKS_URL must be a URL/],
    [
      'none',
      () => ({ JWT_KEY: SECRET, JWT_ALGORITHMS: 'none' }),
      /^JWT_ALGORITHMS must be of HS256, HS384, HS512 for JWT_KEY, not none/,
    ],
    [
      'an algorithm of no key',
      () => ({ JWT_KEY: pem(rsa.publicKey), JWT_ALGORITHMS: 'RS256 HS256' }),
      /^JWT_ALGORITHMS must be of RS256, .* not HS256/,
    ],
    [
      'a key without an algorithm',
      () => ({
        PUBLISHER_JWT_KEY: SECRET,
        SUBSCRIBER_JWT_KEY: pem(p256.publicKey),
        JWT_ALGORITHMS: 'HS256',
      }),
      /^JWT_ALGORITHMS must be of ES256 for SUBSCRIBER_JWT_KEY, not HS256/,
    ],
    [
      'secrets in a key set',
      () => ({ JWKS_URL: 'https://a.example', JWT_ALGORITHMS: 'HS256' }),
      /^JWT_ALGORITHMS must be of RS256, .* for JWKS_URL, not HS256/,
    ],
  ])('that cannot be right are refused at the start: %s', (_, settings, message) => {
    expect(() => readKeys(settings())).toThrow(ConfigError);
    expect(() => readKeys(settings())).toThrow(message);
  });

  test('are not told when they are refused', () => {
    for (const JWT_KEY of ['topsecret', '-----BEGIN topsecret-----', '{"kty":"topsecret"}']) {
      expect(() => readKeys({ JWT_KEY, NODE_ENV: 'production' })).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('topsecret') }),
      );
    }
  });

  test('may be missing: then publishing is 503, and so is any token, and the anonymous may subscribe', async () => {
    const url = await start({}, { anonymous: true });
    for (const response of [await post(url), await post(url, await sign()), await get(url, 'x')]) {
      expect(response.status).toBe(503);
      expect(response.body.detail).toBe(
        'No key to verify tokens with is configured here: set JWT_KEY.',
      );
    }
    await get(url).expect(200);
    await get(await start({})).expect(503);
  });

  test('for development are new each time, and come with a token for everything', async () => {
    const [first, second] = [await createDevelopmentKey(), await createDevelopmentKey()];
    const url = await start({ JWT_KEY: first.JWT_KEY });
    await post(url, first.token).expect(200);
    expect((await get(url, first.token)).body.subscribe).toEqual(['*']);
    await post(url, second.token).expect(401);
  });
});

describe('a key set', () => {
  let keySet: KeySetServer;
  beforeAll(async () => {
    keySet = await startKeySet();
  });
  afterEach(() => keySet.reset());
  afterAll(() => keySet.stop());

  const signed = (kid: string | undefined, pair = rsa, alg = 'RS256') =>
    sign(ALL, { key: pair.privateKey, header: { alg, ...(kid === undefined ? {} : { kid }) } });

  test('is fetched once, with the first token, and kept', async () => {
    keySet.keys = [jwk(rsa, 'a'), jwk(p256, 'b'), jwk(ed25519, 'c')];
    const url = await start({ JWKS_URL: keySet.url });
    expect(keySet.requests).toBe(0);
    const statuses = await Promise.all(
      [
        await signed('a'),
        await signed('a', rsa, 'PS384'),
        await signed('b', p256, 'ES256'),
        await signed('c', ed25519, 'EdDSA'),
        await signed(undefined),
      ].map(async (token) => (await post(url, token)).status),
    );
    expect(statuses).toEqual([200, 200, 200, 200, 200]);
    expect(keySet.requests).toBe(1);
  });

  test('verifies only with its own keys, and none of them as a secret', async () => {
    const secret = { kty: 'oct', kid: 's', k: Buffer.from(SECRET).toString('base64url') };
    keySet.keys = [jwk(rsa, 'a'), secret];
    const url = await start({ JWKS_URL: keySet.url });
    const publicText = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString();
    for (const token of [
      forge({ alg: 'HS256', kid: 'a' }, { mercure: ALL }, publicText),
      forge({ alg: 'HS256', kid: 's' }, { mercure: ALL }),
      `${encode({ alg: 'none', kid: 'a' })}.${encode({ mercure: ALL })}.`,
      await signed('a', otherRsa),
      await signed('a', p256, 'ES256'),
      await signed(undefined, otherRsa),
    ]) {
      expect((await post(url, token)).status).toBe(401);
    }
  });

  test('verifies a token that names no key with any of them that fits', async () => {
    keySet.keys = [jwk(otherRsa, 'a'), jwk(rsa, 'b')];
    const url = await start({ JWKS_URL: keySet.url });
    await post(url, await signed(undefined)).expect(200);
    const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const response = await post(url, await signed(undefined, stranger));
    expect(response.body.detail).toBe("The token's signature does not match the key.");
  });

  test('is fetched again for a key that is not known, but not within the cooldown', async () => {
    keySet.keys = [jwk(rsa, 'old')];
    const url = await start({ JWKS_URL: keySet.url }, { cooldownMs: 0 });
    await post(url, await signed('old')).expect(200);
    keySet.keys = [jwk(otherRsa, 'new')];
    await post(url, await signed('new', otherRsa)).expect(200);
    expect(keySet.requests).toBe(2);
    await post(url, await signed('old')).expect(401);

    keySet.reset();
    keySet.keys = [jwk(rsa, 'old')];
    const cooling = await start({ JWKS_URL: keySet.url });
    await post(cooling, await signed('old')).expect(200);
    for (let i = 0; i < 5; i++) {
      const response = await post(cooling, await signed(randomUUID()));
      expect(response.status).toBe(401);
      expect(response.body.detail).toBe('The token is signed with a key that is not known here.');
    }
    expect(keySet.requests).toBe(1);
  });

  test('is fetched again when it is old, so that a withdrawn key stops working', async () => {
    keySet.keys = [jwk(rsa, 'a')];
    const url = await start({ JWKS_URL: keySet.url }, { maxAgeMs: 0, cooldownMs: 0 });
    await post(url, await signed('a')).expect(200);
    keySet.keys = [];
    await post(url, await signed('a')).expect(401);
  });

  test.each([
    ['stops', () => keySet.stop()],
    ['fails', () => keySet.answer((response) => response.writeHead(500).end())],
    [
      'redirects',
      () => keySet.answer((response) => response.writeHead(302, { Location: '/' }).end()),
    ],
    ['sends nonsense', () => keySet.answer((response) => response.end('nonsense'))],
    ['sends no key set', () => keySet.answer((response) => response.end('{"keys":"none"}'))],
    ['hangs', () => keySet.answer(() => undefined)],
  ])('goes on with the last good keys when its server %s, and says so', async (_, fail) => {
    keySet.keys = [jwk(rsa, 'a')];
    const log = jest.fn();
    const url = await start(
      { JWKS_URL: keySet.url },
      { maxAgeMs: 0, cooldownMs: 0, timeoutMs: 200, log },
    );
    await post(url, await signed('a')).expect(200);
    expect(log).not.toHaveBeenCalledWith(expect.objectContaining({ event: 'jwks-unreachable' }));

    await fail();
    await post(url, await signed('a')).expect(200);
    await post(url, await signed('a')).expect(200);
    expect(log).toHaveBeenCalledWith(
      expect.objectContaining({
        event: 'jwks-unreachable',
        message: expect.stringMatching(/^JWKS_URL cannot be fetched: ./),
      }),
    );

    // Whether this is a good key, nobody can say.
    const unknown = await post(url, await signed('b', otherRsa));
    expect(unknown.status).toBe(503);
    expect(unknown.headers['retry-after']).toBe('30');
    expect(unknown.body).toEqual({
      title: 'Service Unavailable',
      status: 503,
      detail: 'The keys that tokens are verified with cannot be fetched at the moment.',
    });

    await keySet.start();
    keySet.reset();
    keySet.keys = [jwk(otherRsa, 'b')];
    await post(url, await signed('b', otherRsa)).expect(200);
  });

  test('makes nobody wait for a server that hangs but the first to find out', async () => {
    keySet.keys = [jwk(rsa, 'a')];
    const url = await start(
      { JWKS_URL: keySet.url },
      { maxAgeMs: 0, cooldownMs: 0, timeoutMs: 2_000 },
    );
    await post(url, await signed('a')).expect(200);
    let hanging = 0;
    keySet.answer((response) => {
      hanging++;
      response.on('close', () => hanging--);
    });
    await post(url, await signed('a')).expect(200);

    // The next fetch hangs too; it is still under way when these have been answered.
    const asked = once(keySet.server, 'request');
    await Promise.all([post(url, await signed('a')).expect(200), asked]);
    await post(url, await signed('a')).expect(200);
    expect(hanging).toBe(1);
  });

  test('that never came is 503, asks again after the cooldown, and then works', async () => {
    keySet.answer((response) => response.writeHead(500).end());
    const slow = await start({ JWKS_URL: keySet.url }, { anonymous: true });
    for (let i = 0; i < 3; i++) await post(slow, await signed('a')).expect(503);
    expect(keySet.requests).toBe(1);
    await get(slow, await signed('a')).expect(503);
    await get(slow).expect(200);

    const url = await start({ JWKS_URL: keySet.url }, { cooldownMs: 0 });
    await post(url, await signed('a')).expect(503);
    // Still the token's own fault.
    await post(url, 'nonsense').expect(401);
    await post(url, forge({ alg: 'HS256' }, { mercure: ALL })).expect(401);
    keySet.reset();
    keySet.keys = [jwk(rsa, 'a')];
    await post(url, await signed('a')).expect(200);
  });
});

test('a token signed here is verified here, with every kind of key', async () => {
  for (const pair of [rsa, p256, p384, p521, ed25519]) {
    const key = readSigningKey('KEY', pem(pair.privateKey));
    const token = await signToken(key, { subscribe: ['a'], ttlSeconds: 60 });
    const keys = readKeys({ JWT_KEY: pem(pair.publicKey) });
    const grants = await verifyToken(token, keys?.subscriber as never);
    expect(grants.subscribe.map(({ text }) => text)).toEqual(['a']);
    expect(grants.publish).toEqual([]);
  }
});
