import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect as connectSocket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { EarlyExit, killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { connect } from './support/sse-client.js';

/** Everything in memory and nothing to be told about, where a test says nothing else. */
const SETTINGS = { JOURNAL: 'memory:', JWT_KEY };
const MAIN = 'dist/main.js';

afterEach(killPrograms);

/** How a start that fails ends, and what it says. */
async function failureOf(env: Record<string, string>): Promise<EarlyExit> {
  const outcome = await runProgram(MAIN, { env: { ...SETTINGS, ...env } }).catch(
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(EarlyExit);
  return outcome as EarlyExit;
}

describe('the process', () => {
  test('says where it listens', async () => {
    const service = await runProgram(MAIN, { env: SETTINGS });
    await service.printed(new RegExp(`listens on http://localhost:${service.port}\n`));
  });

  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s ends open streams cleanly, also of a client that does not read, and exits 0',
    async (signal) => {
      const service = await runProgram(MAIN, { env: SETTINGS });
      const clients = await Promise.all(
        ['/stream', '/counter', '/messages'].map((path) => connect(service.url + path)),
      );
      const deaf = connectSocket(service.port, '127.0.0.1').pause();
      deaf.write('GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /stream HTTP/1.1\r\nHost: x\r\n\r\n');
      const idle = connectSocket(service.port, '127.0.0.1');
      // Those two are cut in the end, which is what the others are spared.
      for (const socket of [deaf, idle]) socket.on('error', () => undefined);
      await once(idle, 'connect');
      await clients[0]?.next();

      const asked = performance.now();
      const exit = service.kill(signal);
      await Promise.all(clients.map((client) => client.ended));
      expect(await exit).toEqual({ code: 0, signal: null });
      expect(performance.now() - asked).toBeLessThan(2_000);
      expect(service.stderr()).toBe('');
      deaf.destroy();
      idle.destroy();
    },
  );

  test.each([
    [['tokens'], 1, '', /^There is no command "tokens"\.\n\nUsage: koa-sse-hub /],
    [['--port', '3000'], 1, '', /^There is no command "--port"\./],
    [['--help'], 0, /^Usage: koa-sse-hub /, ''],
  ])('%j starts no service, and says what there is', async (args, code, out, err) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/main.js', ...args], {
      encoding: 'utf8',
    });
    expect(status).toBe(code);
    for (const [text, expected] of [
      [stdout, out],
      [stderr, err],
    ] as const) {
      if (typeof expected === 'string') expect(text).toBe(expected);
      else expect(text).toMatch(expected);
    }
  });

  test('a port in use ends the start with one line that names it', async () => {
    const taken = createServer().listen(0);
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const { exit, stderr } = await failureOf({ PORT: String(port) });
    taken.close();
    expect(exit.code).toBe(1);
    expect(stderr).toMatch(new RegExp(`^koa-sse-hub cannot start: PORT ${port} is in use.*\n$`));
  });

  test.each([
    [{ PORT: 'http' }, /^koa-sse-hub cannot start: PORT must be .*not "http"\n$/],
    [{ CORS_ORIGINS: 'example.com' }, /^koa-sse-hub cannot start: CORS_ORIGINS must be .*\n$/],
    [{ HOST: 'a\nb' }, /^koa-sse-hub cannot start: HOST "a\\nb" is no address.*\n$/],
    [{ JOURNAL: 'file:x' }, /^koa-sse-hub cannot start: .*memory:.*lmdb:PATH.*\n$/],
    [
      { JWKS_URL: 'nowhere' },
      /^koa-sse-hub cannot start: JWT_KEY, .* and JWKS_URL exclude each other.*\n$/,
    ],
    [{ JOURNAL_MAX_AGE: '7 days' }, /^koa-sse-hub cannot start: JOURNAL_MAX_AGE must be .*\n$/],
    [{ SLOW_CLIENTS: 'drop' }, /^koa-sse-hub cannot start: SLOW_CLIENTS must be .*\n$/],
    [{ HOST: '203.0.113.7' }, /^koa-sse-hub cannot start: HOST "203.0.113.7" is no address.*\n$/],
  ])(
    'a setting that is not valid ends the start with one line that names it: %j',
    async (env, line) => {
      const { exit, stderr, stdout } = await failureOf(env as Record<string, string>);
      expect(exit.code).toBe(1);
      expect(stderr).toMatch(line);
      expect(stdout).toBe('');
    },
  );
});
