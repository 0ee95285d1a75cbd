import {
  createECDH,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  X509Certificate,
} from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type KeySettings, readKeys, readSigningKey } from '../src/auth/keys.js';
import { createDevelopmentKey } from '../src/auth/sign.js';
import { ConfigError } from '../src/config.js';
import type { Log } from '../src/log.js';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed25519 = generateKeyPairSync('ed25519');
const x25519 = generateKeyPairSync('x25519');

const spki = (key: KeyObject) => key.export({ type: 'spki', format: 'der' });
const pkcs8 = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'der' });
const jwk = (key: KeyObject) => ({ ...key.export({ format: 'jwk' }), kid: 'a' });
const pem = (label: string, der: Buffer) =>
  `-----BEGIN ${label}-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END ${label}-----\n`;

/** The type and the numbers of a key, each with its length before it, as OpenSSH writes them. */
function sshKey(type: string): string {
  const parts = [Buffer.from(type), Buffer.from([1, 0, 1]), randomBytes(256)];
  const bytes = parts.flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return [length, part];
  });
  return Buffer.concat(bytes).toString('base64');
}

/** Of a key on P-256, by itself. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUPWDY6euPSbJiwhy7Q2a4buOYaMgwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjExNDU1MzZaGA8yMTI2MTAyODE0NTUz
NlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOs0
XxphwaOXyPTdjyle6xiPoLorDBrl3ifWvs5zjHekuA99FJHs87JILGcJV/30PMZs
PcFnFxsitC+jTYRNw2mjUzBRMB0GA1UdDgQWBBQuC7vU9wNyGc2xyEchlybobKJq
szAfBgNVHSMEGDAWgBQuC7vU9wNyGc2xyEchlybobKJqszAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCvh3rV96zTXfrHGEtG7PmPgX5+SiGCCOVG
mo0RASkBKQIhAKoD5rG9Bh5aEWmIjB0wwDi4HAlSQcvZkh2uyy2IU+d3
-----END CERTIFICATE-----
`;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'secrets-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const NAMES = ['JWT_KEY', 'PUBLISHER_JWT_KEY', 'SUBSCRIBER_JWT_KEY'] as const;
const GOOD = randomBytes(48).toString('base64');

/** What the start says to a text as each of the keys; what is said must not depend on which. */
function refusal(text: string, more: Partial<KeySettings> = {}): string | undefined {
  const said = NAMES.map((name) => {
    const pair = { PUBLISHER_JWT_KEY: GOOD, SUBSCRIBER_JWT_KEY: GOOD };
    try {
      readKeys({ ...(name === 'JWT_KEY' ? {} : pair), [name]: text, ...more });
      return undefined;
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      const { message } = error as ConfigError;
      expect(message.startsWith(`${name} `)).toBe(true);
      // The value is never told, nor any longer piece of it.
      for (const piece of text.match(/[\w+/=]{16,}/g) ?? []) expect(message).not.toContain(piece);
      return message.slice(name.length + 1).replaceAll(`${name}_FILE`, 'FILE');
    }
  });
  expect(new Set(said).size).toBe(1);
  return said[0];
}

describe('a key is refused that would be a secret which everybody knows', () => {
  const PUBLIC = /^is a public key, but not as PEM: .* set it as PEM/;
  const PRIVATE = /^is a private key: that stays where tokens are signed/;
  const CERTIFICATE = /^is a certificate, but not as PEM/;
  const ENCODED = /^is a key or certificate in an encoding that is not read here/;
  const set = () => ({ keys: [jwk(rsa.publicKey), jwk(ed25519.publicKey)] });

  test.each<[string, () => string, RegExp]>([
    ['a JWKS', () => JSON.stringify(set()), PUBLIC],
    ['an indented JWKS', () => `\n${JSON.stringify(set(), null, 2)}\n`, PUBLIC],
    ['a JWKS without keys', () => '{"keys":[]}', PUBLIC],
    ['a JWKS that was cut off', () => JSON.stringify(set()).slice(0, 200), PUBLIC],
    ['a JWKS in quotes', () => `'${JSON.stringify(set())}'`, PUBLIC],
    ['a JWKS as Base64', () => Buffer.from(JSON.stringify(set())).toString('base64'), PUBLIC],
    ['a list of JWKs', () => JSON.stringify(set().keys), PUBLIC],
    ['an RSA JWK', () => JSON.stringify(jwk(rsa.publicKey)), PUBLIC],
    ['an EC JWK', () => JSON.stringify(jwk(p256.publicKey)), PUBLIC],
    ['an Ed25519 JWK', () => JSON.stringify(jwk(ed25519.publicKey)), PUBLIC],
    ['a private JWK', () => JSON.stringify(jwk(rsa.privateKey)), PRIVATE],
    ['a JWKS of private keys', () => JSON.stringify({ keys: [jwk(p256.privateKey)] }), PRIVATE],
    ['a secret JWK', () => JSON.stringify({ kty: 'oct', k: GOOD }), /^is JSON: set the secret/],
    ['other JSON', () => '{"type":"HS256","key":"whatever"}', /^is JSON/],
    ['ssh-rsa', () => `ssh-rsa ${sshKey('ssh-rsa')} me@host`, PUBLIC],
    ['ssh-ed25519', () => `ssh-ed25519 ${sshKey('ssh-ed25519')}`, PUBLIC],
    [
      'ecdsa-sha2-nistp256',
      () => `ecdsa-sha2-nistp256 ${sshKey('ecdsa-sha2-nistp256')} me`,
      PUBLIC,
    ],
    [
      'a security key',
      () => `sk-ssh-ed25519@openssh.com ${sshKey('sk-ssh-ed25519@openssh.com')}`,
      PUBLIC,
    ],
    ['a line of known_hosts', () => `host,10.0.0.1 ssh-rsa ${sshKey('ssh-rsa')}`, PUBLIC],
    ['an OpenSSH key without its type', () => sshKey('ssh-rsa'), PUBLIC],
    [
      'an SSH2 key',
      () => `---- BEGIN SSH2 PUBLIC KEY ----\n${sshKey('ssh-rsa')}\n---- END SSH2 PUBLIC KEY ----`,
      PUBLIC,
    ],
    [
      'PEM without white space',
      () => pem('PUBLIC KEY', spki(rsa.publicKey)).replace(/\s/g, ''),
      PUBLIC,
    ],
    [
      'PEM without its first line',
      () => pem('PUBLIC KEY', spki(p256.publicKey)).split('\n').slice(1).join('\n'),
      PUBLIC,
    ],
    [
      'PEM without its dashes',
      () => pem('PUBLIC KEY', spki(rsa.publicKey)).replaceAll('-----', ''),
      PUBLIC,
    ],
    ['hex DER, RSA', () => spki(rsa.publicKey).toString('hex'), PUBLIC],
    [
      'hex DER in capitals, with colons',
      () => (spki(p256.publicKey).toString('hex').toUpperCase().match(/../g) ?? []).join(':'),
      PUBLIC,
    ],
    ['hex DER with 0x', () => `0x${spki(ed25519.publicKey).toString('hex')}`, PUBLIC],
    ['Base64 DER, RSA', () => spki(rsa.publicKey).toString('base64'), PUBLIC],
    [
      'Base64 DER in lines',
      () => spki(rsa.publicKey).toString('base64').replace(/.{64}/g, '$&\n'),
      PUBLIC,
    ],
    [
      'Base64 DER in lines, as \\n',
      () => spki(rsa.publicKey).toString('base64').replace(/.{64}/g, '$&\\n'),
      PUBLIC,
    ],
    ['Base64url DER, EC', () => spki(p256.publicKey).toString('base64url'), PUBLIC],
    ['Base64url DER, Ed25519', () => spki(ed25519.publicKey).toString('base64url'), PUBLIC],
    [
      'PKCS#1 DER',
      () => rsa.publicKey.export({ type: 'pkcs1', format: 'der' }).toString('base64'),
      PUBLIC,
    ],
    ['DER that was cut off', () => spki(rsa.publicKey).toString('base64').slice(0, 120), ENCODED],
    ['a key for something else', () => spki(x25519.publicKey).toString('hex'), PUBLIC],
    [
      'PEM as Base64',
      () => Buffer.from(pem('PUBLIC KEY', spki(rsa.publicKey))).toString('base64'),
      PUBLIC,
    ],
    [
      'a key of Web Push',
      () => createECDH('prime256v1').generateKeys().toString('base64url'),
      PUBLIC,
    ],
    ['a private key as hex', () => pkcs8(rsa.privateKey).toString('hex'), PRIVATE],
    ['a private key as Base64', () => pkcs8(ed25519.privateKey).toString('base64'), PRIVATE],
    [
      'a private key as Base64url, SEC 1',
      () => p256.privateKey.export({ type: 'sec1', format: 'der' }).toString('base64url'),
      PRIVATE,
    ],
    [
      'a private key as PKCS#1 PEM',
      () => rsa.privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
      PRIVATE,
    ],
    [
      'an encrypted private key',
      () =>
        ed25519.privateKey
          .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
          .toString(),
      PRIVATE,
    ],
    ['an OpenSSH private key', () => pem('OPENSSH PRIVATE KEY', randomBytes(300)), PRIVATE],
    [
      'an OpenSSH private key without its lines',
      () => Buffer.concat([Buffer.from('openssh-key-v1\0'), randomBytes(300)]).toString('base64'),
      PRIVATE,
    ],
    ['a PuTTY key', () => 'PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none', PRIVATE],
    [
      'a PGP public key',
      () => pem('PGP PUBLIC KEY BLOCK', randomBytes(300)),
      /^is a PGP block, with which no token is signed/,
    ],
    ['a PGP private key', () => pem('PGP PRIVATE KEY BLOCK', randomBytes(300)), /^is a PGP block/],
    [
      'a certificate as Base64',
      () => new X509Certificate(certificate).raw.toString('base64'),
      CERTIFICATE,
    ],
    [
      'a certificate as hex',
      () => new X509Certificate(certificate).raw.toString('hex'),
      CERTIFICATE,
    ],
    ['two public keys', () => certificate + certificate, /^has more than one key or certificate/],
    ['PEM of something else', () => pem('X509 CRL', randomBytes(300)), /^looks like PEM, but no/],
  ])('%s', (_, make, reason) => {
    expect(refusal(make())).toMatch(reason);
  });

  test.each<[string, string, RegExp]>([
    ['a token', `eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.${GOOD.replace(/\W/g, '')}`, /^is a token: set/],
    ['a token with its scheme', 'Bearer eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln', /^is a token/],
    ['a URL', 'https://example.com/.well-known/jwks.json', /^is a URL: .* JWKS_URL/],
    ['a URL without its scheme', 'example.com/.well-known/jwks.json', /^is a URL/],
    ['the place of a secret', 'op://vault/hub/key', /^is a URL/],
    ['a path', '/run/secrets/jwt_key', /^is the path of a file: .* set FILE$/],
    ['a long path', '/etc/koa-sse-hub/keys/Production2026/publicKey.pem', /^is the path/],
    ['a path of a Mac', '/Users/Ann/Documents/Keys/hub', /^is the path/],
    ['a path from here', './jwt.key', /^is the path/],
    ['a path from above', '../secrets/jwt', /^is the path/],
    ['a path of a home', '~/.ssh/id_ed25519.pub', /^is the path/],
    ['a path with a variable', '$HOME/jwt.key', /^is the path/],
    ['a path of Windows', 'C:\\keys\\jwt.pem', /^is the path/],
    ['a file: URL', 'file:///run/secrets/jwt_key', /^is the path/],
    ['a file of curl', '@./jwt.key', /^is the path/],
    ['the name of a file', 'public.pem', /^is the path/],
    ['a file that is there', 'LICENSE', /^is the path/],
    ['a variable', '$' + '{JWT_KEY}', /^is the name of a value that was not put in its place/],
    ['a variable of a template', '{{ .Values.jwtKey }}', /^is the name of a value/],
    ['a command', '$(openssl rand -base64 48)', /^is the name of a value/],
  ])('%s', (_, text, reason) => {
    expect(refusal(text)).toMatch(reason);
  });

  test('a file that is there, wherever it is', () => {
    const existing = join(directory, 'A');
    writeFileSync(existing, 'x');
    expect(refusal(existing)).toMatch(/^is the path of a file/);
  });

  test('by the command that makes tokens, in its own words', () => {
    const sign = (text: string) => () => readSigningKey('--key', text);
    expect(sign(`ssh-rsa ${sshKey('ssh-rsa')}`)).toThrow(/^--key is a public key: tokens are sig/);
    expect(sign(JSON.stringify(jwk(rsa.privateKey)))).toThrow(
      /^--key is a private key, but not as/,
    );
    expect(sign('./jwt.key')).toThrow('set --key="$(cat FILE)"');
    expect(sign('https://example.com/jwks.json')).toThrow(/^--key is a URL/);
    expect(sign(certificate)).toThrow(/^--key is a public key/);
    expect(sign(pem('OPENSSH PRIVATE KEY', randomBytes(300)))).toThrow(/ssh-keygen -p -m PKCS8/);
    const secret = () => readSigningKey('--key', 'secret', { NODE_ENV: 'production' });
    expect(secret).toThrow(/^--key must have at least 32 bytes/);
  });

  test('but PEM is read: public keys, PKCS#1 and certificates', () => {
    const pkcs1 = rsa.publicKey.export({ type: 'pkcs1', format: 'pem' }).toString();
    const quoted = `"${pem('PUBLIC KEY', spki(rsa.publicKey)).trim().replaceAll('\n', '\\n')}"`;
    for (const text of [pem('PUBLIC KEY', spki(rsa.publicKey)), pkcs1, quoted]) {
      expect(refusal(text)).toBeUndefined();
      expect(readKeys({ JWT_KEY: text })?.publisher.algorithms).toContain('RS256');
      expect(readKeys({ JWT_KEY: text })?.publisher.algorithms).not.toContain('HS256');
    }
    expect(refusal(certificate)).toBeUndefined();
    expect(readKeys({ JWT_KEY: certificate })?.publisher.algorithms).toEqual(['ES256']);
  });
});

describe('a secret that can be guessed', () => {
  const EXAMPLES = [
    '!ChangeMe!',
    '!ChangeThisMercureHubJWTSecretKey!',
    'your-256-bit-secret',
    'your-384-bit-secret',
    'your-512-bit-secret',
    'a-string-secret-at-least-256-bits-long',
    'a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long',
    'secret',
    'secretsecretsecretsecretsecretsecret',
    'supersecretsupersecretsupersecret1',
    'my-super-secret-jwt-signing-key-123456',
    'changeme-changeme-changeme-changeme',
    'change_me_to_at_least_32_characters',
    'CHANGE-ME-in-production-please-0123456789',
    'please-replace-this-secret-in-production',
    'this is a very long secret key for testing',
    'placeholder_placeholder_placeholder',
    '<your-256-bit-secret>',
    'x'.repeat(40),
    '0'.repeat(64),
    ' '.repeat(40),
    'abababababababababababababababababab',
    '01234567890123456789012345678901',
    '0123456789abcdef0123456789abcdef',
    'abcdefghijklmnopqrstuvwxyz0123456789',
    'qwertyuiopasdfghjklzxcvbnm123456',
    'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
    '09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7',
  ];
  // A text in angle brackets is no secret at all.
  const secrets = EXAMPLES.filter((text) => !text.startsWith('<'));

  test.each(EXAMPLES)('is refused in production: %j', (text) => {
    expect(refusal(text, { NODE_ENV: 'production' })).toMatch(
      /^(must have at least|is an example|is a placeholder|repeats the same|is the name of a value)/,
    );
  });

  test.each(secrets)('is warned of anywhere else, once and without telling it: %j', (text) => {
    const warnings: string[] = [];
    readKeys({ JWT_KEY: text }, { log: ({ message }) => warnings.push(message) });
    expect(warnings).toEqual([
      expect.stringMatching(/^JWT_KEY .*in production refused: it should have at least 32 bytes/),
    ]);
    if (text.length > 10) expect(warnings[0]).not.toContain(text);
  });
});

describe('a real secret is taken in production, without a warning', () => {
  const anyBytes = (min: number, max: number) =>
    fc.uint8Array({ minLength: min, maxLength: max }).map((bytes) => Buffer.from(bytes));
  /** fast-check's own bytes lean to zeros and repeats, which nobody draws: these are stretched at random. */
  const random = fc
    .tuple(fc.integer({ min: 32, max: 96 }), anyBytes(1, 4))
    .map(([size]) => randomBytes(size));
  const takes = (text: string) => {
    const log: Log = ({ message }) => {
      throw new Error(message);
    };
    readKeys({ JWT_KEY: text, NODE_ENV: 'production' }, { log });
  };
  const word = fc.constantFrom(
    ...'correct horse battery staple violin harbour quick brown fox lantern marble ocean winter granite'.split(
      ' ',
    ),
  );

  test.each<[string, fc.Arbitrary<string>]>([
    ['Base64', random.map((bytes) => bytes.toString('base64'))],
    ['Base64 that begins like a path', random.map((bytes) => `/${bytes.toString('base64')}`)],
    ['Base64url', random.map((bytes) => bytes.toString('base64url'))],
    ['hex', random.map((bytes) => bytes.toString('hex'))],
    ['hex in capitals', random.map((bytes) => bytes.toString('hex').toUpperCase())],
    ['digits', random.map((bytes) => BigInt(`0x${bytes.toString('hex')}`).toString())],
    [
      'any visible characters',
      random.map((bytes) =>
        [...bytes].map((byte) => String.fromCharCode(33 + (byte % 94))).join(''),
      ),
    ],
    [
      'a passphrase with spaces',
      fc
        .uniqueArray(word, { minLength: 6, maxLength: 9 })
        .map((words) => words.join(' '))
        .filter((text) => text.length >= 32),
    ],
    ['characters beyond ASCII', random.map((bytes) => `größe ${bytes.toString('latin1')} 世界`)],
  ])('%s', (_, secrets) => {
    fc.assert(fc.property(secrets, takes), { numRuns: 1_000 });
  });

  test('the one that is made up for a run', async () => {
    for (let i = 0; i < 20; i++) takes((await createDevelopmentKey()).JWT_KEY);
  });
});
