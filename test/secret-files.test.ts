import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ConfigError, readConfig } from '../src/config.js';
import { SECRET_SETTINGS } from '../src/secret-files.js';
import { EarlyExit, killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { tokenFor } from './support/tokens.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'secret-files-'));
});
afterEach(async () => {
  await killPrograms();
  rmSync(directory, { recursive: true, force: true });
});

function file(content: string | Buffer): string {
  const path = join(directory, 'key');
  writeFileSync(path, content);
  return path;
}

describe('a setting with _FILE', () => {
  test.each(SECRET_SETTINGS)('reads the secret from that file: %s', (name) => {
    const config = readConfig({ [`${name}_FILE`]: file(JWT_KEY) });
    expect(config[name]).toBe(JWT_KEY);
    expect(Object.keys(config)).not.toContain(`${name}_FILE`);
  });

  test.each([
    ['a line break', 'secret\n', 'secret'],
    ['a line break of Windows', 'secret\r\n', 'secret'],
    ['two line breaks', 'secret\n\n', 'secret\n'],
    ['spaces', ' secret ', ' secret '],
    ['lines', '-----BEGIN\na\n-----END\n', '-----BEGIN\na\n-----END'],
    ['a byte order mark', '\ufeffsecret', 'secret'],
    ['characters beyond ASCII', 'größe', 'größe'],
  ])('takes off one line break at the end and nothing else: %s', (_, content, secret) => {
    expect(readConfig({ JWT_KEY_FILE: file(content) }).JWT_KEY).toBe(secret);
  });

  test('follows a link, as Kubernetes has them', () => {
    const link = join(directory, 'link');
    symlinkSync(file(JWT_KEY), link);
    expect(readConfig({ JWT_KEY_FILE: link }).JWT_KEY).toBe(JWT_KEY);
  });

  test('counts as not set if it is empty, and goes together with an empty key', () => {
    expect(readConfig({ JWT_KEY, JWT_KEY_FILE: '' }).JWT_KEY).toBe(JWT_KEY);
    expect(readConfig({ JWT_KEY: '', JWT_KEY_FILE: file(JWT_KEY) }).JWT_KEY).toBe(JWT_KEY);
  });

  test('of 64 KiB is read', () => {
    const secret = 'x'.repeat(64 * 1_024);
    expect(readConfig({ JWT_KEY_FILE: file(secret) }).JWT_KEY).toBe(secret);
  });

  test.each<[string, () => string, RegExp]>([
    ['missing', () => join(directory, 'missing'), /must name a file; there is none under/],
    ['below a file', () => join(file('x'), 'key'), /must name a file; there is none under/],
    ['a secret in its place', () => 'topsecret topsecret', /must name a file; there is none under/],
    ['empty', () => file(''), /must name a file that holds the key; .* is empty$/],
    ['a line break', () => file('\n'), /must name a file that holds the key; .* is empty$/],
    ['huge', () => file('x'.repeat(64 * 1_024 + 1)), /must name a file of at most 65536 bytes/],
    ['endless', () => '/dev/zero', /must name a file; what it names is something else$/],
    ['a directory', () => directory, /must name a file; what it names is something else$/],
    ['no text', () => file(Buffer.from([0xff, 0xfe, 0, 1])), /must name a file of UTF-8 text/],
    [
      'a pipe without a writer',
      () => {
        const pipe = join(directory, 'pipe');
        execFileSync('mkfifo', [pipe]);
        return pipe;
      },
      /must name a file; what it names is something else$/,
    ],
    ['a long path', () => `/${'x'.repeat(300)}`, /that can be read; .* failed \(ENAMETOOLONG\)$/],
  ])('is named if it cannot be used, without its value: %s', (_, path, message) => {
    for (const name of SECRET_SETTINGS) {
      const value = path();
      const read = () => readConfig({ [`${name}_FILE`]: value });
      expect(read).toThrow(ConfigError);
      expect(read).toThrow(message);
      expect(read).toThrow(new RegExp(`^${name}_FILE must`));
      expect(read).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining(value) }),
      );
      rmSync(directory, { recursive: true });
      mkdirSync(directory);
    }
  });

  const isRoot = process.getuid?.() === 0;
  (isRoot ? test.skip : test)('is named if it may not be read', () => {
    const path = file(JWT_KEY);
    chmodSync(path, 0);
    expect(() => readConfig({ JWT_KEY_FILE: path })).toThrow(/^JWT_KEY_FILE .*this user may not/);
  });

  test.each(SECRET_SETTINGS)('excludes the setting itself: %s', (name) => {
    const read = () => readConfig({ [name]: JWT_KEY, [`${name}_FILE`]: file(JWT_KEY) });
    expect(read).toThrow(`${name} and ${name}_FILE exclude each other: set one of the two`);
  });
});

describe('the process', () => {
  test('verifies tokens with the key of a file, and `npm run token` signs with it', async () => {
    const env = { JOURNAL: 'memory:', JWT_KEY: undefined, JWT_KEY_FILE: file(`${JWT_KEY}\n`) };
    const service = await runProgram('dist/main.js', { env });
    const made = execFileSync(process.execPath, ['dist/main.js', 'token', '--publish', '*'], {
      env: { JWT_KEY_FILE: env.JWT_KEY_FILE },
    });
    for (const token of [await tokenFor(), made.toString().trim()]) {
      const response = await fetch(`${service.url}/hub`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}` },
        body: new URLSearchParams({ topic: 'a' }),
      });
      expect(response.status).toBe(200);
    }
    expect(service.stderr()).toBe('');
  });

  test('ends the start with one line if the file is missing', async () => {
    const env = { JOURNAL: 'memory:', JWT_KEY: undefined, JWT_KEY_FILE: join(directory, 'no') };
    const outcome = await runProgram('dist/main.js', { env }).catch((error: unknown) => error);
    expect(outcome).toBeInstanceOf(EarlyExit);
    expect((outcome as EarlyExit).stderr).toBe(
      'koa-sse-hub cannot start: JWT_KEY_FILE must name a file; there is none under this path\n',
    );
  });
});
