import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type LogEntry, type LogLevel, summed } from '../src/log.js';
import { createLog, createStartLog, type OperatorLog } from '../src/ops/log.js';
import { type EarlyExit, killPrograms, type Program, runProgram } from './support/run-program.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const MAIN = 'dist/main.js';
const JWT_KEY = '7gL0v1d4mWq9RzXk2tYbN8sUeHcJfPa3';
const SETTINGS = { JOURNAL: 'memory:', HOST: '127.0.0.1', JWT_KEY };
const PRODUCTION = { ...SETTINGS, NODE_ENV: 'production' };

afterEach(killPrograms);

/** A line of the log in JSON. */
type Line = LogEntry & { readonly time: string; readonly error?: { readonly message: string } };

function linesOf({ stdout }: Pick<Program, 'stdout'>): Line[] {
  const lines = stdout().split('\n');
  expect(lines.pop()).toBe(''); // What is written are whole lines.
  return lines.map((line) => JSON.parse(line));
}

/** Stops a service and returns all that it has logged. */
async function logOf(service: Program): Promise<Line[]> {
  await service.kill('SIGTERM');
  return linesOf(service);
}

/** The first line of an event, as soon as it is written. */
async function lineOf(service: Program, event: string): Promise<Line> {
  const [line] = await service.printed(new RegExp(`^.*"event":"${event}".*$`, 'm'));
  return JSON.parse(line);
}

/** A log, and the lines that it has written. */
function logged(settings: Partial<Parameters<typeof createLog>[0]> = {}) {
  const lines: string[] = [];
  const log = createLog(
    { LOG_LEVEL: 'debug', LOG_FORMAT: 'json', NODE_ENV: 'test', ...settings },
    (line) => lines.push(line),
  );
  return { log, lines };
}

function say(log: OperatorLog, level: LogLevel, message: string, fields = {}): void {
  log({ level, event: 'said', message, ...fields });
}

describe('the format of the log', () => {
  test('is JSON in production: a line for each entry, with its level, time, event, message and fields', async () => {
    const service = await runProgram(MAIN, { env: PRODUCTION });
    const { time, ...line } = await lineOf(service, 'listening');
    const url = `http://127.0.0.1:${service.port}`;
    expect(line).toEqual({
      level: 'info',
      event: 'listening',
      url,
      message: `koa-sse-hub listens on ${url}`,
    });
    expect(Math.abs(Date.parse(time) - Date.now())).toBeLessThan(600_000);
    const lines = await logOf(service);
    expect(lines.at(-1)).toMatchObject({ level: 'info', event: 'stopped' });
    expect(service.stderr()).toBe('');
  });

  test('is text in development, and LOG_FORMAT has its way in either', async () => {
    const text = await runProgram(MAIN, { env: { ...PRODUCTION, LOG_FORMAT: 'text' } });
    await text.printed(/^koa-sse-hub listens on http:/m);
    const json = await runProgram(MAIN, { env: { ...SETTINGS, LOG_FORMAT: 'json' } });
    await lineOf(json, 'listening');
  });

  test('a start that fails is a line of JSON in production, also where a setting is not valid', async () => {
    const outcome = runProgram(MAIN, { env: { ...PRODUCTION, LOG_LEVEL: 'loud' } });
    const { exit, stdout, stderr } = (await outcome.catch((error: unknown) => error)) as EarlyExit;
    expect(exit.code).toBe(1);
    expect(stderr).toBe('');
    const lines = linesOf({ stdout: () => stdout });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ level: 'error', event: 'start-failed' });
    expect(lines[0]?.message).toBe(
      'koa-sse-hub cannot start: LOG_LEVEL must be debug or info or warn or error, not "loud"',
    );
  });

  test('before the settings are known is that of LOG_FORMAT or NODE_ENV', () => {
    expect(createStartLog({}).format).toBe('text');
    expect(createStartLog({ NODE_ENV: 'production' }).format).toBe('json');
    expect(createStartLog({ NODE_ENV: 'production', LOG_FORMAT: 'text' }).format).toBe('text');
    expect(createStartLog({ LOG_FORMAT: 'nonsense' }).format).toBe('text');
  });

  test.each(['json', 'text'] as const)(
    '%s: no name that a client chooses forges a line or turns one around',
    (format) => {
      const { log, lines } = logged({ LOG_FORMAT: format });
      const name = 'x\r\n{"level":"error"}\u001b[31m\u0085\u009b31m\u2028\u2029\u202e\u2066\u007f';
      say(log, 'info', `${name} is refused`, { client: name });
      expect(lines).toHaveLength(1);
      expect(lines[0]).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u);
      if (format === 'json') expect(JSON.parse(lines[0] as string).client).toBe(name);
    },
  );

  test('of errors has what is known to be harmless, and not whatever hangs on them', () => {
    const { log, lines } = logged();
    const headers = { cookie: 'session=abc' };
    say(log, 'error', 'x', {
      error: Object.assign(new Error('away'), { code: 'E_AWAY', headers }),
    });
    expect(JSON.parse(lines[0] as string).error).toEqual({
      name: 'Error',
      message: 'away',
      code: 'E_AWAY',
    });
  });

  test('of text shows a stack on lines of its own, indented', () => {
    const { log, lines } = logged({ LOG_FORMAT: 'text' });
    say(log, 'error', 'It has failed: a\nb', { stack: 'Error: a\nb\n    at there' });
    expect(lines).toEqual(['It has failed: a\\nb\n  Error: a\n  b\n      at there']);
  });
});

describe('the level of the log', () => {
  test.each([
    ['debug', ['debug', 'info', 'warn', 'error']],
    ['warn', ['warn', 'error']],
    ['error', ['error']],
  ] as const)('LOG_LEVEL=%s writes %j', (level, written) => {
    const { log, lines } = logged({ LOG_LEVEL: level });
    for (const one of ['debug', 'info', 'warn', 'error'] as const) say(log, one, 'x');
    expect(lines.map((line) => JSON.parse(line).level)).toEqual(written);
  });

  test('is debug after SIGUSR2, with a line for each request, and the configured one after the next', async () => {
    const service = await runProgram(MAIN, { env: { ...PRODUCTION, LOG_LEVEL: 'warn' } });
    const switchTo = async (level: LogLevel) => {
      process.kill(service.pid, 'SIGUSR2');
      await service.printed(new RegExp(`"to":"${level}"`));
      service.clear();
    };
    await fetch(`${service.url}/before`);
    expect(service.stdout()).toBe('');
    await switchTo('debug');
    await fetch(`${service.url}/during?x=1`);
    expect(await lineOf(service, 'request')).toMatchObject({ level: 'debug', path: '/during' });
    await switchTo('warn');
    await fetch(`${service.url}/after`);
    expect(await logOf(service)).toEqual([]);
  });
});

describe('the lines about clients', () => {
  test('a stream that closes has one line: who, where, why, for how long, how many events and bytes', async () => {
    const env = { ...PRODUCTION, HEARTBEAT_MS: '20', TRUST_PROXY: 'loopback' };
    const service = await runProgram(MAIN, { env });
    const token = await tokenOf();
    const client = await connect(`${service.url}/hub?topic=x&secret=1`, {
      'X-Forwarded-For': '192.0.2.7',
    });
    const publish = (data: string) =>
      fetch(`${service.url}/hub`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}` },
        body: new URLSearchParams({ topic: 'x', data }),
      });
    await publish('one');
    await publish('two');
    // Neither comments nor the id without data that comes first are events.
    await client.nextComment();
    await client.take(2);
    const replayed = await connect(`${service.url}/hub?topic=x&lastEventID=earliest`);
    await replayed.take(2);
    client.abort();
    const line = await lineOf(service, 'stream-closed');
    expect(line).toMatchObject({
      level: 'info',
      client: '192.0.2.7',
      path: '/hub',
      reason: 'left',
      events: 2,
    });
    expect(line.bytes).toBeGreaterThanOrEqual(client.bytes().length);
    expect(line.durationMs).toBeGreaterThan(0);
    expect(line.message).toMatch(
      /^192\.0\.2\.7 \/hub: the stream was left after [\d.]+ s, 2 events, \d+ bytes\.$/,
    );

    const closed = (await logOf(service)).filter(({ event }) => event === 'stream-closed');
    expect(closed).toHaveLength(2);
    expect(closed[1]).toMatchObject({ client: '127.0.0.1', reason: 'ended', events: 2 });
  });

  test('streams beyond a number of lines are summed up', () => {
    const { log, lines } = logged();
    const sums = summed(log, { lines: 3 });
    for (let i = 0; i < 10; i++)
      sums({ level: 'info', event: 'stream-closed', message: String(i) });
    sums.flush();
    expect(lines.map((line) => JSON.parse(line).message)).toEqual([
      '0',
      '1',
      '2',
      '9 (one of 7 like it in 10 s)',
    ]);
  });

  test('requests that are refused for their token say what is wrong with it; those after the first are summed up', async () => {
    const service = await runProgram(MAIN, { env: PRODUCTION });
    const post = (headers: Record<string, string>) =>
      fetch(`${service.url}/hub`, { method: 'POST', headers, body: 'topic=x' });
    for (let i = 0; i < 5; i++)
      expect((await post({ Authorization: 'Bearer x' })).status).toBe(401);
    const other = await tokenOf({ publish: ['y'], subscribe: [] });
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
    expect((await post({ ...form, Authorization: `Bearer ${other}` })).status).toBe(403);
    const lines = await logOf(service);
    const about = (status: number) => lines.filter(({ event }) => event === `refused-${status}`);
    expect(about(401)).toMatchObject([
      { level: 'warn', client: '127.0.0.1', method: 'POST', path: '/hub', status: 401 },
      { count: 4 },
    ]);
    expect(about(401)[0]?.detail).toBe('The token is not a well-formed JSON Web Token.');
    expect(about(403)).toMatchObject([{ detail: 'The token does not cover "x".' }]);
  });

  test('requests that are refused for a limit name it', async () => {
    const env = { ...PRODUCTION, TRUST_PROXY: '10.0.0.0/8', RATE_REQUESTS: '1/h' };
    const service = await runProgram(MAIN, { env });
    await fetch(service.url);
    expect((await fetch(service.url)).status).toBe(429);
    expect(await lineOf(service, 'refused-RATE_REQUESTS')).toMatchObject({
      level: 'warn',
      client: '127.0.0.1',
      limit: 'RATE_REQUESTS',
    });
  });

  test('ACCESS_LOG=true writes one for each request: who, what, the answer, how long and how much', async () => {
    const env = { ...PRODUCTION, ACCESS_LOG: 'true', TRUST_PROXY: 'loopback' };
    const service = await runProgram(MAIN, { env });
    const response = await fetch(`${service.url}/nothing/here?a=b`, {
      headers: { 'X-Forwarded-For': '192.0.2.7' },
    });
    const { length } = Buffer.from(await response.arrayBuffer());
    expect(await lineOf(service, 'request')).toMatchObject({
      level: 'info',
      client: '192.0.2.7',
      method: 'GET',
      path: '/nothing/here',
      status: 404,
      bytes: length,
      durationMs: expect.any(Number),
    });
    service.clear();
    // A client that has gone before it had an answer.
    const socket = connectSocket(service.port, '127.0.0.1');
    await once(socket, 'connect');
    const token = await tokenOf();
    socket.write(
      `POST /hub HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ntopic=`,
    );
    await fetch(`${service.url}/later`);
    socket.destroy();
    await service.printed(/"status":499/);
    const lines = await logOf(service);
    expect(lines.filter(({ event }) => event === 'request')).toHaveLength(2);
  });

  test('without it there is none', async () => {
    const service = await runProgram(MAIN, { env: PRODUCTION });
    await fetch(service.url);
    expect((await logOf(service)).map(({ event }) => event)).toEqual(['listening', 'stopped']);
  });

  test('a proxy that nobody has named is told of once, and not of one that is', async () => {
    const through = (service: Program) =>
      fetch(service.url, { headers: { 'X-Forwarded-For': '192.0.2.7' } });
    const service = await runProgram(MAIN, { env: PRODUCTION });
    for (let i = 0; i < 3; i++) await through(service);
    const hints = (await logOf(service)).filter(({ event }) => event === 'proxy-not-trusted');
    expect(hints).toHaveLength(1);
    expect(hints[0]?.message).toMatch(/TRUST_PROXY is false/);

    const trusting = await runProgram(MAIN, { env: { ...PRODUCTION, TRUST_PROXY: 'loopback' } });
    await through(trusting);
    expect((await logOf(trusting)).map(({ event }) => event)).toEqual(['listening', 'stopped']);
  });
});

describe('secrets', () => {
  const SECRET = 'Zx81SecretOfAClient';
  /** One that nobody can verify, and that has the secret in each of its parts. */
  const BAD = [`{"alg":"HS256","kid":"${SECRET}"}`, `{"sub":"${SECRET}"}`, SECRET]
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');

  test.each(['json', 'text'])(
    '%s: no token, cookie or query is in the log of a service that was attacked with them, at any level',
    async (format) => {
      const service = await runProgram(MAIN, {
        env: { ...PRODUCTION, LOG_FORMAT: format, LOG_LEVEL: 'debug', ACCESS_LOG: 'true' },
      });
      const good = await tokenOf();
      const narrow = await tokenOf({ publish: [], subscribe: [] });
      const paths = ['/hub', '/hub?topic=x', '/messages?id=x', `/${BAD}`];
      for (const token of [BAD, SECRET, good, narrow, `${good}x`]) {
        for (const path of paths) {
          const query = `${path}${path.includes('?') ? '&' : '?'}authorization=${token}`;
          for (const method of ['GET', 'POST']) {
            const requests: [string, Record<string, string>][] = [
              [path, { Authorization: `Bearer ${token}` }],
              [path, { Cookie: `mercureAuthorization=${token}; session=${SECRET}` }],
              [query, {}],
              [`${query}&authorization=${token}`, {}],
              [`/hub%3Fauthorization=${token}`, {}],
              [path, { 'Idempotency-Key': SECRET, 'Last-Event-ID': SECRET, Referer: query }],
            ];
            await Promise.all(
              requests.map(async ([target, headers]) => {
                const response = await fetch(service.url + target, {
                  method,
                  headers,
                  body: method === 'GET' ? null : new URLSearchParams({ topic: 'x' }),
                });
                await response.body?.cancel();
              }),
            );
          }
        }
      }
      // What is no request, with all of them.
      const socket = connectSocket(service.port, '127.0.0.1');
      socket.write(`GET /?authorization=${SECRET} HTTP/9\r\nCookie: ${SECRET}\r\n\r\n`);
      socket.resume();
      await once(socket, 'close');

      await service.kill('SIGTERM');
      const output = service.stdout() + service.stderr();
      expect(output.match(/ 401 /g)?.length).toBeGreaterThan(10); // It was attacked, and has logged it.
      const encoded = Buffer.from(SECRET).toString('base64url').slice(0, 12);
      for (const text of [SECRET, encoded, 'eyJ', BAD, good, good.slice(-20), narrow.slice(-20)]) {
        expect(output).not.toContain(text);
      }
    },
  );

  test.each(['json', 'text'] as const)(
    '%s: a token in the error of another package is left out',
    (format) => {
      const { log, lines } = logged({ LOG_FORMAT: format });
      const text = [
        `GET /hub?topic=x&authorization=${SECRET}&y=1`,
        `authorization%3D${SECRET}`,
        `Cookie: mercureAuthorization=${SECRET}; a=b`,
        `Authorization: Bearer ${SECRET}`,
        BAD,
      ].join(' and ');
      say(log, 'error', text, { error: new Error(text), stack: text, nested: { url: [text] } });
      expect(lines[0]).not.toContain(SECRET);
      expect(lines[0]).not.toContain('eyJ');
      expect(lines[0]).toContain('authorization=[token]&y=1');
      if (format === 'json') JSON.parse(lines[0] as string);
    },
  );

  test('the trial token is for terminals: it is not in JSON', async () => {
    const env = { ...SETTINGS, JWT_KEY: '', LOG_FORMAT: 'json' };
    const service = await runProgram(MAIN, { env });
    expect((await lineOf(service, 'no-key')).message).toMatch(
      /^No JWT_KEY is set: .*Bearer \[token\]/s,
    );
    expect(service.stdout() + service.stderr()).not.toContain('eyJ');
  });
});

describe('a log that nobody reads', () => {
  test('does not stop the service', async () => {
    const service = await runProgram(MAIN, {
      env: { ...PRODUCTION, ACCESS_LOG: 'true' },
      unread: true,
    });
    const path = `/${'x'.repeat(190)}`;
    // More than the 64 KiB that a pipe holds.
    for (let i = 0; i < 10; i++) {
      const answers = Array.from({ length: 20 }, () => fetch(service.url + path));
      await Promise.all(answers.map(async (answer) => (await answer).arrayBuffer()));
    }
    expect((await fetch(`${service.url}/health`)).status).toBe(200);
  });

  test('keeps 16 MiB of lines, and tells how many it has dropped to whoever reads on', async () => {
    const program = `
      import { createLog } from '${pathToFileURL('dist/ops/log.js')}';
      const log = createLog({ LOG_LEVEL: 'info', NODE_ENV: 'production' });
      const pad = 'x'.repeat(1_000);
      for (let i = 0; i < 20_000; i++) log({ level: 'info', event: 'e', message: 'm', pad });
      process.stderr.write('written');
      process.stdin.resume();
    `;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
    await once(child.stderr, 'data');
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      if (Buffer.concat(chunks.slice(-2)).includes('log-dropped')) child.stdin.end();
    });
    await once(child, 'close');
    const text = Buffer.concat(chunks).toString();
    const lines = linesOf({ stdout: () => text });
    const told = lines.at(-1)?.message ?? '';
    const dropped = Number(/^(\d+) lines of the log were dropped/.exec(told)?.[1]);
    expect(lines.length - 1 + dropped).toBe(20_000);
    expect(Math.abs(text.length - 16 * 1024 ** 2)).toBeLessThan(1024 ** 2);
  });
});

/** A token that this service accepts; by default it may do everything. */
function tokenOf(content?: Parameters<typeof tokenFor>[0]): Promise<string> {
  return tokenFor(content, JWT_KEY);
}
