import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { EarlyExit, killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

let directory: string;
let token: string;
const agent = new Agent({ keepAlive: true });

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'journal-'));
  token = await tokenFor();
});

afterEach(async () => {
  await killPrograms();
  rmSync(directory, { recursive: true });
});

function start(env: Record<string, string> = {}): Promise<Program> {
  return runProgram('dist/main.js', { env: { JWT_KEY, JOURNAL: `lmdb:${directory}`, ...env } });
}

/** Publishes and resolves with the answer's status and text. */
function publish(service: Program, topic: string, data: string): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const body = new URLSearchParams({ topic, data }).toString();
    const post = request(`${service.url}/hub`, {
      agent,
      method: 'POST',
      headers: {
        Authorization: `Bearer ${token}`,
        'Content-Type': 'application/x-www-form-urlencoded',
        'Content-Length': Buffer.byteLength(body),
      },
    });
    post.on('error', reject);
    post.on('response', (response) => {
      text(response).then((answer) => resolve([response.statusCode ?? 0, answer]), reject);
    });
    post.end(body);
  });
}

describe('kill -9 in the middle of publishing', () => {
  test.each(['disk', 'os'])(
    'loses nothing that was acknowledged, and a client that resumes misses none (JOURNAL_SYNC=%s)',
    async (sync) => {
      const acknowledged: { id: string; data: string }[] = [];
      let resumeAt: string | undefined;
      const received = new Map<string, string>();

      for (let round = 0; round < 6; round += 1) {
        const service = await start({ JOURNAL_SYNC: sync });
        const reader = await connect(`${service.url}/hub?topic=t`, {
          'Last-Event-ID': resumeAt ?? 'earliest',
        });
        let running = true;
        const reading = (async () => {
          for (;;) {
            const { id = '', event, data } = await reader.next();
            expect(event).toBeUndefined();
            expect(received.has(id)).toBe(false);
            received.set(id, data);
            resumeAt = id;
          }
        })().catch(() => undefined);
        const publishers = Array.from({ length: 8 }, async (_, publisher) => {
          for (let n = 0; running; n += 1) {
            const data = `${round}/${publisher}/${n}`;
            const answer = await publish(service, 't', data).catch(() => undefined);
            if (answer?.[0] === 200) acknowledged.push({ id: answer[1], data });
          }
        });
        const enough = acknowledged.length + 50 + 37 * round;
        while (acknowledged.length < enough) await new Promise(setImmediate);
        await service.kill('SIGKILL');
        running = false;
        await Promise.all([reading, ...publishers]);
      }

      const service = await start();
      const all = await connect(`${service.url}/hub?topic=t&lastEventID=earliest`);
      const held = new Map<string, string>();
      const lastAcknowledged = acknowledged.at(-1)?.id as string;
      const fresh = (await publish(service, 't', 'the end'))[1];
      while (!held.has(fresh)) {
        const { id = '', data } = await all.next();
        expect(held.has(id)).toBe(false);
        held.set(id, data);
      }
      for (const { id, data } of acknowledged) expect(held.get(id)).toBe(data);
      expect(held.has(lastAcknowledged)).toBe(true);
      expect([...held.keys()]).toEqual([...held.keys()].sort(byPosition));

      const resumed = await connect(`${service.url}/hub?topic=t`, {
        'Last-Event-ID': resumeAt as string,
      });
      while (!received.has(fresh)) {
        const { id = '', data } = await resumed.next();
        received.set(id, data);
      }
      expect([...received]).toEqual([...held]);
    },
    60_000,
  );
});

function byPosition(a: string, b: string): number {
  const [aEpoch = 0, aSequence = 0] = a.split('-').map(Number);
  const [bEpoch = 0, bSequence = 0] = b.split('-').map(Number);
  return aEpoch - bEpoch || aSequence - bSequence;
}

describe('a restart', () => {
  test('keeps the ids, the chat and the place of a client that comes back', async () => {
    const first = await start();
    const [, id] = await publish(first, 't', '1');
    await publish(first, 't', '2');
    const posted = await fetch(`${first.url}/message?id=ada`, {
      method: 'POST',
      body: new URLSearchParams({ message: 'Hello' }),
    });
    expect(posted.status).toBe(200);
    expect(await first.kill('SIGTERM')).toEqual({ code: 0, signal: null });

    const second = await start();
    const client = await connect(`${second.url}/hub?topic=t`, { 'Last-Event-ID': id });
    expect((await client.next()).data).toBe('2');
    const chat = await connect(`${second.url}/messages`);
    expect(JSON.parse((await chat.next()).data)).toEqual([{ user_id: 'ada', message: 'Hello' }]);
    const [, later] = await publish(second, 't', '3');
    expect(byPosition(id, later)).toBeLessThan(0);
    expect((await client.next()).id).toBe(later);
  });

  test('a second process on the same journal is refused, with one line that names the directory', async () => {
    await start();
    const outcome = await start().catch((error: unknown) => error);
    expect(outcome).toBeInstanceOf(EarlyExit);
    const { exit, stderr } = outcome as EarlyExit;
    expect(exit.code).toBe(1);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toContain(directory);
  });

  test('SIGTERM under load loses nothing that was acknowledged', async () => {
    const service = await start();
    const client = await connect(`${service.url}/hub?topic=t`);
    const acknowledged: string[] = [];
    let running = true;
    const publishers = Array.from({ length: 8 }, async () => {
      while (running) {
        const answer = await publish(service, 't', 'x').catch(() => undefined);
        if (answer?.[0] === 200) acknowledged.push(answer[1]);
      }
    });
    await client.take(100);
    const exit = service.kill('SIGTERM');
    await client.ended;
    expect(await exit).toEqual({ code: 0, signal: null });
    running = false;
    await Promise.all(publishers);
    const again = await start();
    const all = await connect(`${again.url}/hub?topic=t&lastEventID=earliest`);
    const last = (await publish(again, 't', 'the end'))[1];
    const held = new Set<string>();
    while (!held.has(last)) held.add((await all.next()).id as string);
    for (const id of acknowledged) expect(held.has(id)).toBe(true);
  });
});

// A limit on the size of files stands for a full disk; only Linux can set and lift another process's.
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('a full disk', () => {
  const limit = (service: Program, bytes: string) =>
    execFileSync('prlimit', ['--pid', String(service.pid), `--fsize=${bytes}:unlimited`]);

  test('is 503 for publishers, who lose nothing; subscribers go on; with room all is well', async () => {
    const service = await start();
    const client = await connect(`${service.url}/hub?topic=t`);
    expect((await publish(service, 't', 'before'))[0]).toBe(200);
    limit(service, '4096');
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => publish(service, 't', `refused ${n}`)),
    );
    for (const [status, problem] of answers) {
      expect(status).toBe(503);
      expect(JSON.parse(problem).detail).toMatch(/^The journal cannot be written/);
    }
    limit(service, 'unlimited');
    expect((await publish(service, 't', 'after'))[0]).toBe(200);
    expect((await client.take(2)).map(({ data }) => data)).toEqual(['before', 'after']);
    const replayed = await connect(`${service.url}/hub?topic=t&lastEventID=earliest`);
    expect((await replayed.take(2)).map(({ data }) => data)).toEqual(['before', 'after']);
  });
});

test('a journal that fails hundreds of times has few lines in the log', async () => {
  const service = await start({ FEEDS: 'none', RATE_LIMITS: 'off' });
  expect((await publish(service, 't', 'x'))[0]).toBe(200);
  truncateSync(join(directory, 'data.mdb'), 8_192);
  const subscribe = async (lastEventID: string) => {
    const answer = await fetch(`${service.url}/hub?topic=t&lastEventID=${lastEventID}`);
    await answer.text(); // A stream that was opened is ended.
    return answer.status;
  };
  for (let n = 0; n < 200; n++) {
    const [[published], located, replayed] = await Promise.all([
      publish(service, 't', 'x'),
      subscribe('some'),
      subscribe('earliest'),
    ]);
    expect([published, located, replayed]).toEqual([503, 503, 200]);
  }
  // One of each kind in ten seconds: what cannot be written, and for whom what cannot be read.
  const lines = () => service.stderr().trim().split('\n');
  expect(lines().length).toBeLessThan(8);
  expect(lines().every((line) => line.startsWith('The journal cannot be '))).toBe(true);
  service.kill('SIGTERM');
  await service.printed(/The journal cannot be read .* \(one of \d{3} like it in 10 s\)/);
  await service.exited;
  expect(lines().length).toBeLessThan(12);
});

describe('a start without keys', () => {
  test('prints a curl command with a token that works as it stands', async () => {
    const service = await start({ JWT_KEY: '' });
    const [, command = ''] = await service.printed(/^ {2}(curl -d .*)$/m);
    const listener = await connect(`${service.url}/hub?topic=news`);
    const [, bearer = ''] = /Bearer ([\w.-]+)/.exec(command) ?? [];
    token = bearer;
    expect(await publish(service, 'news', 'hello')).toEqual([200, expect.any(String)]);
    expect((await listener.next()).data).toBe('hello');
    expect(command).toContain(`:${service.port}/hub`);
  });

  test('in production makes up no key: publishing is 503 and says why, all else works', async () => {
    const service = await start({ JWT_KEY: '', NODE_ENV: 'production' });
    await service.printed(/JWT_KEY/);
    const [status, problem] = await publish(service, 'news', 'hello');
    expect(status).toBe(503);
    expect(JSON.parse(problem).detail).toMatch(/JWT_KEY/);
    const clock = await connect(`${service.url}/stream`);
    expect((await clock.next()).data).toBe('hello from stream');
    const listener = await connect(`${service.url}/hub?topic=news`);
    expect(listener.response.statusCode).toBe(200);
    listener.abort();
    await once(listener.response, 'close');
  });
});
