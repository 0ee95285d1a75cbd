import { type ExecFileException, execFile } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { verifyToken } from '../src/auth/grants.js';
import { readKeys } from '../src/auth/keys.js';

const SECRET = 'a secret of at least 32 bytes, for this';
const OTHER_SECRET = 'another secret of at least 32 bytes';
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });

const pem = (key: KeyObject) =>
  key.export({ type: key.type === 'public' ? 'spki' : 'pkcs8', format: 'pem' }).toString();

describe('the command that makes tokens', () => {
  const make = (args: string[], env: Record<string, string> = {}) =>
    run(process.execPath, ['dist/main.js', 'token', ...args], env);

  test('prints a token that the service takes, and nothing else', async () => {
    const { code, stdout, stderr } = await make(
      ['--publish', 'a', '--publish', 'b/{id}', '--subscribe', '*', '--payload', '{"user":"Ann"}'],
      { JWT_KEY: SECRET },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^[\w.-]+\n$/);
    const keys = readKeys({ JWT_KEY: SECRET });
    const grants = await verifyToken(stdout.trim(), keys?.publisher as never);
    expect(grants.publish.map(({ text }) => text)).toEqual(['a', 'b/{id}']);
    expect(grants.subscribe.map(({ text }) => text)).toEqual(['*']);
    expect(grants.payload).toEqual({ user: 'Ann' });
  });

  test.each([
    [[], 3_600],
    [['--ttl', '90s'], 90],
    [['--ttl', '15m'], 900],
    [['--ttl', '2h'], 7_200],
    [['--ttl', '7d'], 604_800],
  ])('makes it good for as long as --ttl says: %j', async (ttl, seconds) => {
    const { stdout } = await make(['--publish', '*', ...ttl], { JWT_KEY: SECRET });
    const { exp = 0, iat = 0 } = decodeJwt(stdout.trim());
    expect(exp - iat).toBe(seconds);
  });

  test('signs with the key of the kind, or the one given, in an algorithm that is allowed', async () => {
    const env = { PUBLISHER_JWT_KEY: SECRET, SUBSCRIBER_JWT_KEY: OTHER_SECRET };
    const keys = readKeys(env);
    const publisher = (await make(['--publish', '*'], env)).stdout.trim();
    await verifyToken(publisher, keys?.publisher as never);
    const subscriber = (await make(['--subscribe', '*'], env)).stdout.trim();
    await verifyToken(subscriber, keys?.subscriber as never);

    const args = ['--publish', '*', `--key=${pem(rsa.privateKey)}`];
    const given = (await make(args, { JWT_KEY: pem(rsa.publicKey) })).stdout.trim();
    expect(decodeProtectedHeader(given).alg).toBe('RS256');
    await verifyToken(given, readKeys({ JWT_KEY: pem(rsa.publicKey) })?.publisher as never);
    const restricted = await make(args, { JWT_ALGORITHMS: 'PS512' });
    expect(decodeProtectedHeader(restricted.stdout.trim()).alg).toBe('PS512');
  });

  test.each<[string[], Record<string, string>, RegExp]>([
    [[], { JWT_KEY: SECRET }, /^What may the token do\?/],
    [['--publish', '*'], {}, /^There is no key to sign with: set JWT_KEY/],
    [['--publish', '*'], { JWT_KEY: '' }, /^There is no key/],
    [['--publish', '*'], { SUBSCRIBER_JWT_KEY: SECRET }, /^There is no key/],
    [['--publish', '*'], { JWT_KEY: pem(rsa.publicKey) }, /^JWT_KEY is a public key: .* private/],
    [
      ['--publish', '*', '--subscribe', '*'],
      { PUBLISHER_JWT_KEY: SECRET, SUBSCRIBER_JWT_KEY: OTHER_SECRET },
      /^Publishers and subscribers have keys of their own/,
    ],
    [['--publish', '*', '--ttl', 'soon'], { JWT_KEY: SECRET }, /^--ttl must be .* not soon/],
    [['--publish', '*', '--ttl', '0h'], { JWT_KEY: SECRET }, /^--ttl must be/],
    [['--publish', '*', '--payload', '{'], { JWT_KEY: SECRET }, /^--payload must be JSON/],
    [['--publish', 'x'.repeat(1_025)], { JWT_KEY: SECRET }, /^A topic selector is longer/],
    [
      ['--publish', '*'],
      { JWT_KEY: SECRET, JWT_ALGORITHMS: 'RS256' },
      /^JWT_ALGORITHMS must be of/,
    ],
    [['--publish'], { JWT_KEY: SECRET }, /--publish/],
    [['--sudo'], { JWT_KEY: SECRET }, /--sudo/],
    [['all'], { JWT_KEY: SECRET }, /all/],
  ])('exits 1, says why and prints no token: %j', async (args, env, message) => {
    const { code, stdout, stderr } = await make(args, env);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr).toContain('Usage: koa-sse-hub token ');
    expect(stderr).not.toContain('    at ');
  });

  test('explains itself', async () => {
    const { code, stdout } = await make(['--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: koa-sse-hub token /);
  });
});

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(file: string, args: string[], env: NodeJS.ProcessEnv): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(file, args, { env }, (error: ExecFileException | null, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}
