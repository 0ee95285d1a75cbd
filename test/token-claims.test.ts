import { execFileSync } from 'node:child_process';
import { afterEach, describe, expect, test } from '@jest/globals';
import { decodeJwt, type JWTPayload, SignJWT } from 'jose';
import request from 'supertest';
import { readKeys } from '../src/auth/keys.js';
import { claimsFor, createDevelopmentKey } from '../src/auth/sign.js';
import { ConfigError, readConfig } from '../src/config.js';
import type { Service } from '../src/service.js';
import { JWT_KEY, startTestService } from './support/server.js';

const JWT_ISSUER = 'https://issuer.example';
const JWT_AUDIENCE = 'https://hub.example, urn:hub';

let service: Service | undefined;
afterEach(async () => {
  await service?.stop();
  service = undefined;
});

/** A token with any claims, also of types that no library signs. */
function sign(claims: Record<string, unknown>): Promise<string> {
  return new SignJWT({ mercure: { publish: ['*'], subscribe: ['*'] }, ...claims } as JWTPayload)
    .setProtectedHeader({ alg: 'HS256' })
    .sign(Buffer.from(JWT_KEY));
}

/** How both kinds of request are answered; they must be told the same. */
async function answers(env: Record<string, string>, claims: Record<string, unknown>) {
  service ??= await startTestService({ JWT_KEY, ...env });
  const token = `Bearer ${await sign(claims)}`;
  const hub = request(service.url);
  const published = await hub.post('/hub').set('Authorization', token).type('form').send('topic=a');
  const subscribed = await hub.head('/hub?topic=a').set('Authorization', token);
  expect(subscribed.status).toBe(published.status);
  expect(subscribed.headers['www-authenticate']).toBe(published.headers['www-authenticate']);
  return published;
}

describe('a token', () => {
  test.each<[string, Record<string, unknown>]>([
    ['the issuer and an audience', { iss: JWT_ISSUER, aud: 'https://hub.example' }],
    ['the other audience', { iss: JWT_ISSUER, aud: 'urn:hub' }],
    ['an audience among others', { iss: JWT_ISSUER, aud: ['x', 'urn:hub'] }],
  ])('is good with %s', async (_, claims) => {
    expect((await answers({ JWT_ISSUER, JWT_AUDIENCE }, claims)).status).toBe(200);
  });

  const iss = `The token's iss must be ${JWT_ISSUER}.`;
  const aud = "The token's aud must be or contain https://hub.example or urn:hub.";
  const good = { iss: JWT_ISSUER, aud: 'urn:hub' };
  test.each<[string, Record<string, unknown>, string]>([
    ['no iss', { aud: 'urn:hub' }, iss],
    ['another iss', { ...good, iss: 'https://other.example' }, iss],
    ['an iss with a slash more', { ...good, iss: `${JWT_ISSUER}/` }, iss],
    ['an iss in capitals', { ...good, iss: JWT_ISSUER.toUpperCase() }, iss],
    ['an empty iss', { ...good, iss: '' }, iss],
    ['a list for iss', { ...good, iss: [JWT_ISSUER] }, iss],
    ['an object for iss', { ...good, iss: { [JWT_ISSUER]: true } }, iss],
    ['null for iss', { ...good, iss: null }, iss],
    ['no aud', { iss: JWT_ISSUER }, aud],
    ['another aud', { ...good, aud: 'urn:other' }, aud],
    ['the setting as aud', { ...good, aud: JWT_AUDIENCE }, aud],
    ['an empty list for aud', { ...good, aud: [] }, aud],
    ['others in aud', { ...good, aud: ['urn:other', 'urn:hub2'] }, aud],
    ['a list in the list of aud', { ...good, aud: [['urn:hub']] }, aud],
    ['a number for aud', { ...good, aud: 1 }, aud],
    ['an object for aud', { ...good, aud: { 0: 'urn:hub', length: 1 } }, aud],
    ['null for aud', { ...good, aud: null }, aud],
  ])('is 401 and told which claim: %s', async (_, claims, detail) => {
    const response = await answers({ JWT_ISSUER, JWT_AUDIENCE }, claims);
    expect(response.status).toBe(401);
    expect(response.body.detail).toBe(detail);
    expect(response.headers['www-authenticate']).toBe(
      `Bearer realm="koa-sse-hub", error="invalid_token", error_description="${detail}"`,
    );
  });

  test('may say anything, or nothing, where a claim is not set', async () => {
    expect((await answers({}, {})).status).toBe(200);
    expect((await answers({}, { iss: [1], aud: { a: 1 } })).status).toBe(200);
  });

  test('needs only the claim that is set', async () => {
    expect((await answers({ JWT_ISSUER }, { iss: JWT_ISSUER })).status).toBe(200);
    expect((await answers({ JWT_ISSUER }, { aud: 'urn:hub' })).status).toBe(401);
  });
});

describe('the settings', () => {
  test.each([
    [{ JWT_ISSUER: '  ' }, /^JWT_ISSUER must be/],
    [{ JWT_AUDIENCE: ' , ' }, /^JWT_AUDIENCE must be one or more/],
  ])('that say nothing are refused, with a key or without: %j', (settings, message) => {
    for (const key of [{}, { JWT_KEY }]) {
      expect(() => readKeys({ ...key, ...settings })).toThrow(ConfigError);
      expect(() => readKeys({ ...key, ...settings })).toThrow(message);
    }
  });

  test('warn of a key set whose tokens may be for anybody', () => {
    const warnings = (settings: Record<string, string>) => {
      const told: string[] = [];
      const JWKS_URL = 'https://issuer.example/jwks.json';
      readKeys(readConfig({ JWKS_URL, ...settings }), { log: ({ message }) => told.push(message) });
      return told;
    };
    expect(warnings({})).toEqual([
      expect.stringMatching(/^JWKS_URL is set without JWT_ISSUER and JWT_AUDIENCE: /),
    ]);
    expect(warnings({ JWT_ISSUER })).toEqual([]);
    expect(warnings({ JWT_AUDIENCE })).toEqual([]);
  });

  test.each(['https://user:pass@issuer.example/jwks.json', 'https://user@issuer.example/'])(
    'refuse a JWKS_URL with a password, which fetch cannot use and its errors would tell: %s',
    (JWKS_URL) => {
      expect(() => readKeys({ JWKS_URL })).toThrow(
        /^JWKS_URL must be a URL without a user and a password$/,
      );
    },
  );
});

describe('a token that is made here', () => {
  test('has the claims that the settings ask for: by the command', async () => {
    const env = { JWT_KEY, JWT_ISSUER, JWT_AUDIENCE };
    const made = execFileSync(process.execPath, ['dist/main.js', 'token', '--publish', '*'], {
      env,
    });
    const token = made.toString().trim();
    expect(decodeJwt(token)).toMatchObject({ iss: JWT_ISSUER, aud: 'https://hub.example' });
    service = await startTestService(env);
    const post = request(service.url).post('/hub').set('Authorization', `Bearer ${token}`);
    expect((await post.type('form').send('topic=a')).status).toBe(200);
  });

  test('has none that they do not ask for', async () => {
    expect(claimsFor({})).toEqual({ issuer: undefined, audience: undefined });
    const { token } = await createDevelopmentKey();
    expect(Object.keys(decodeJwt(token)).sort()).toEqual(['iat', 'mercure']);
  });

  test('is good for the first try of a start without a key', async () => {
    service = await startTestService({ JWT_KEY: '', JWT_ISSUER, JWT_AUDIENCE });
    const [, token] = /Bearer ([\w.-]+)/.exec(service.notice ?? '') ?? [];
    const post = request(service.url).post('/hub').set('Authorization', `Bearer ${token}`);
    expect((await post.type('form').send('topic=a')).status).toBe(200);
  });
});
