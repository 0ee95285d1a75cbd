import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { Agent, get, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from '@jest/globals';
import Koa from 'koa';
import { createClient } from 'redis';
import { health } from '../src/ops/health.js';
import { Readiness, type ReadinessParts } from '../src/ops/readiness.js';
import { problems } from '../src/requests/problem.js';
import { startRedis } from './support/redis-server.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY, serve, startTestService } from './support/server.js';
import { tokenFor } from './support/tokens.js';

/** What is let go of after each test, the newest first. */
const opened: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
  await killPrograms();
});

interface Answer {
  readonly status: number;
  readonly detail: string;
  readonly reasons: readonly { readonly reason: string; readonly detail: string }[];
}

async function ask(url: string): Promise<Answer> {
  const response = await fetch(url);
  const body = (await response.json()) as Answer;
  return { ...body, status: response.status };
}

/** Asks until it is answered with this status. */
async function untilStatus(url: string, status: number): Promise<Answer> {
  for (;;) {
    const answer = await ask(url);
    if (answer.status === status) return answer;
  }
}

/** Serves the probes of a process that is as the test has it. */
async function serveProbes(parts: Partial<ReadinessParts> = {}): Promise<string> {
  const app = new Koa();
  app.silent = true;
  const readiness = new Readiness({
    ping: async () => undefined,
    isDraining: () => false,
    stalledMs: () => undefined,
    hasFewDescriptors: () => false,
    ...parts,
  });
  const server = await serve(app.use(problems()).use(health(readiness)));
  opened.push(() => server.close());
  return server.url;
}

async function makeDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'health-'));
  opened.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** The service, on a journal in a directory of its own if no other is named. */
async function startService(
  env: Record<string, string> = {},
  nodeArgs: readonly string[] = [],
): Promise<Program> {
  const journal = env.JOURNAL ?? `lmdb:${await makeDirectory()}`;
  return runProgram('dist/main.js', {
    env: { JWT_KEY, FEEDS: 'none', ...env, JOURNAL: journal },
    nodeArgs,
  });
}

/** Has node run a program before the service. */
const importing = (program: string): readonly string[] => [
  '--import',
  `data:text/javascript,${encodeURIComponent(program)}`,
];

async function publish(url: string, data: string): Promise<number> {
  const token = await tokenFor();
  const response = await fetch(`${url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
    body: new URLSearchParams({ topic: 't', data }),
  });
  await response.text();
  return response.status;
}

const onLinux = process.platform === 'linux' ? test : test.skip;

describe('GET /healthz', () => {
  test('is 200 as long as the process answers, whatever ails it', async () => {
    const url = await serveProbes({
      ping: () => new Promise(() => undefined),
      isDraining: () => true,
      stalledMs: () => 5_000,
      hasFewDescriptors: () => true,
    });
    const response = await fetch(`${url}/healthz`);
    expect([response.status, await response.json()]).toEqual([200, { status: 'ok' }]);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect((await fetch(`${url}/healthz`, { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(`${url}/healthz`, { method: 'POST' })).status).toBe(405);
  });

  test('is 200 on a connection that is one too many, where all else is 503', async () => {
    const service = await startTestService({ MAX_CONNECTIONS: '1' });
    opened.push(() => service.stop());
    const taken = connect(Number(new URL(service.url).port), '127.0.0.1');
    opened.push(() => taken.destroy());
    await once(taken, 'connect');
    expect((await fetch(`${service.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
    expect((await fetch(`${service.url}/stream`)).status).toBe(503);
  });
});

describe('GET /readyz', () => {
  test('is 200 while the process can serve; /health is the same', async () => {
    const service = await startTestService();
    opened.push(() => service.stop());
    for (const path of ['/readyz', '/health']) {
      const response = await fetch(service.url + path);
      expect([response.status, await response.json()]).toEqual([200, { status: 'ok' }]);
      expect(response.headers.get('cache-control')).toBe('no-store');
      expect((await fetch(service.url + path, { method: 'HEAD' })).status).toBe(200);
    }
  });

  test('is a problem document with all reasons', async () => {
    const url = await serveProbes({
      ping: () => Promise.reject(new Error('The journal is away.')),
      stalledMs: () => 2_345,
      hasFewDescriptors: () => true,
    });
    const response = await fetch(`${url}/readyz`);
    expect(response.headers.get('content-type')).toMatch('application/problem+json');
    expect(await response.json()).toEqual({
      title: 'Service Unavailable',
      status: 503,
      detail:
        'The journal is away. The event loop was stalled for 2.3 seconds. File descriptors are nearly all in use: raise ulimit -n.',
      reasons: [
        { reason: 'journal', detail: 'The journal is away.' },
        { reason: 'event-loop', detail: 'The event loop was stalled for 2.3 seconds.' },
        {
          reason: 'descriptors',
          detail: 'File descriptors are nearly all in use: raise ulimit -n.',
        },
      ],
    });
  });

  test('leaves out the reasons that it is told to, and refuses others', async () => {
    const url = await serveProbes({
      ping: () => Promise.reject(new Error('The journal is away.')),
      hasFewDescriptors: () => true,
    });
    const { reasons } = await ask(`${url}/readyz?exclude=journal`);
    expect(reasons.map(({ reason }) => reason)).toEqual(['descriptors']);
    expect((await ask(`${url}/readyz?exclude=journal&exclude=descriptors`)).status).toBe(200);
    const refused = await ask(`${url}/readyz?exclude=disk`);
    expect(refused).toMatchObject({
      status: 400,
      detail: expect.stringContaining('journal, draining, event-loop, descriptors'),
    });
  });

  test('asks the journal once for all who ask at the same time', async () => {
    let asked = 0;
    let answer: () => void = () => undefined;
    const url = await serveProbes({
      ping: () => {
        asked += 1;
        return new Promise((resolve) => {
          answer = resolve;
        });
      },
    });
    const arrived = new Promise<void>((resolve) => {
      const look = () => (asked > 0 ? resolve() : setImmediate(look));
      look();
    });
    const answers = Array.from({ length: 20 }, () => fetch(`${url}/readyz`));
    await arrived;
    // By the time that this is answered, those before it have been read.
    await Promise.all(Array.from({ length: 20 }, () => fetch(`${url}/healthz`)));
    answer();
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses).toEqual(Array(20).fill(200));
    expect(asked).toBe(1);
  });

  test('gives nobody an answer of before, and asks the journal four times a second at most', async () => {
    const times: number[] = [];
    let isFine = true;
    const url = await serveProbes({
      ping: async () => {
        times.push(performance.now());
        if (!isFine) throw new Error('The journal is away.');
      },
    });
    for (let n = 0; n < 4; n++) {
      expect((await ask(`${url}/readyz`)).status).toBe(isFine ? 200 : 503);
      isFine = !isFine;
    }
    const pauses = times.slice(1).map((time, n) => time - (times[n] as number));
    for (const pause of pauses) expect(pause).toBeGreaterThan(245);
  });

  test('is 503 for a journal that hangs, after two seconds, and asks it no second time meanwhile', async () => {
    let asked = 0;
    const url = await serveProbes({
      ping: () => {
        asked += 1;
        return new Promise(() => undefined);
      },
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(`${url}/readyz`)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
    expect(answers[0]?.detail).toBe('The journal has not answered in 2 seconds.');
    expect(asked).toBe(1);
  });
});

describe('GET /readyz is 503', () => {
  onLinux('when the disk is full, as publishing is', async () => {
    const directory = await makeDirectory();
    const service = await startService({ JOURNAL: `lmdb:${directory}` });
    for (let n = 0; n < 5; n++) expect(await publish(service.url, 'x')).toBe(200);
    const { size } = await stat(join(directory, 'data.mdb'));
    const limit = (bytes: string) =>
      execFileSync('prlimit', ['--pid', String(service.pid), `--fsize=${bytes}:unlimited`]);
    limit(String(size));
    // Pages that are free in the file still take what is little.
    expect(await publish(service.url, 'x'.repeat(900_000))).toBe(503);
    const { status, reasons } = await ask(`${service.url}/readyz`);
    expect(status).toBe(503);
    expect(reasons).toEqual([
      {
        reason: 'journal',
        detail: expect.stringMatching(/^The journal cannot be written: .*room/),
      },
    ]);
    limit('unlimited');
    expect(await publish(service.url, 'x')).toBe(200);
    expect((await ask(`${service.url}/readyz`)).status).toBe(200);
  });

  test('when the journal was removed', async () => {
    const directory = await makeDirectory();
    const service = await startService({ JOURNAL: `lmdb:${directory}` });
    expect((await ask(`${service.url}/readyz`)).status).toBe(200);
    await rm(directory, { recursive: true });
    expect(await ask(`${service.url}/readyz`)).toMatchObject({
      status: 503,
      reasons: [{ reason: 'journal', detail: expect.stringMatching(/^The journal cannot be/) }],
    });
    await service.printed(/The journal cannot be/);
    // Those of many nodes leave it out.
    expect((await ask(`${service.url}/readyz?exclude=journal`)).status).toBe(200);
  });

  test('when a key in Redis has another type, which an append might not meet', async () => {
    const redis = await startRedis({ persistence: 'none' });
    opened.push(() => redis.close());
    const service = await startService({ JOURNAL: redis.url, JOURNAL_SYNC: 'os' });
    const client = await createClient({ url: redis.url }).connect();
    for (const name of ['entries', 'index', 'ids', 'counts', 'gap-order', 'keys', 'endings']) {
      const key = `{sse-hub}:${name}`;
      await client.set(key, 'something else');
      expect(await ask(`${service.url}/readyz`)).toMatchObject({
        status: 503,
        reasons: [{ reason: 'journal', detail: expect.stringContaining('WRONGTYPE') }],
      });
      await client.del(key);
      expect((await ask(`${service.url}/readyz`)).status).toBe(200);
    }
    await client.close();
  });

  test('when Redis is full, and when it is away', async () => {
    const redis = await startRedis({ persistence: 'none' });
    opened.push(() => redis.close());
    const service = await startService({ JOURNAL: redis.url, JOURNAL_SYNC: 'os' });
    const client = await createClient({ url: redis.url }).connect();
    await client.configSet({ maxmemory: '1', 'maxmemory-policy': 'noeviction' });
    expect((await ask(`${service.url}/readyz`)).detail).toMatch(/OOM/);
    await client.configSet('maxmemory', '0');
    expect((await ask(`${service.url}/readyz`)).status).toBe(200);
    await client.close();
    await redis.kill();
    expect((await untilStatus(`${service.url}/readyz`, 503)).reasons).toMatchObject([
      { reason: 'journal' },
    ]);
  });

  test('while the event loop has been stalled, and for seconds after that', async () => {
    const stall = `process.once("SIGUSR2", () => {
      const end = performance.now() + 1500;
      while (performance.now() < end);
      console.log("stalled");
    });`;
    const service = await startService({ JOURNAL: 'memory:' }, importing(stall));
    expect((await ask(`${service.url}/readyz`)).status).toBe(200);
    process.kill(service.pid, 'SIGUSR2');
    await service.printed(/stalled/);
    expect(await ask(`${service.url}/readyz`)).toMatchObject({
      status: 503,
      reasons: [
        { reason: 'event-loop', detail: expect.stringMatching(/stalled for \d+\.\d seconds/) },
      ],
    });
    await untilStatus(`${service.url}/readyz`, 200);
  });

  onLinux('when descriptors have run out', async () => {
    const take = `
      import { openSync } from "node:fs";
      process.once("SIGUSR2", () => {
        try { for (;;) openSync("/dev/null"); } catch {}
      });`;
    const program = ['-c', 'ulimit -n 128; exec node "$@" dist/main.js', 'sh', ...importing(take)];
    const child = spawn('sh', program, {
      env: {
        ...process.env,
        NODE_OPTIONS: '',
        PORT: '0',
        HOST: '127.0.0.1',
        JOURNAL: 'memory:',
        JWT_KEY,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    opened.push(() => child.kill('SIGKILL'));
    const printed = (pattern: RegExp) =>
      new Promise<RegExpExecArray>((resolve) => {
        let output = '';
        for (const stream of [child.stdout, child.stderr]) {
          stream.setEncoding('utf8').on('data', (some: string) => {
            output += some;
            const match = pattern.exec(output);
            if (match) resolve(match);
          });
        }
      });
    const [, port] = await printed(/listens on http:\/\/[^:]+:(\d+)\n/);
    // There are no descriptors for further connections: whoever asks has one already.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    opened.push(() => agent.destroy());
    const askAgain = async () => {
      const [response] = (await once(
        get(`http://127.0.0.1:${port}/readyz`, { agent }),
        'response',
      )) as [IncomingMessage];
      return { status: response.statusCode, body: await text(response) };
    };
    expect((await askAgain()).status).toBe(200);
    const isTold = printed(/File descriptors are/);
    child.kill('SIGUSR2');
    await isTold;
    const { status, body } = await askAgain();
    expect(status).toBe(503);
    expect(JSON.parse(body).reasons).toMatchObject([{ reason: 'descriptors' }]);
  });

  test('as soon as the process is told to stop', async () => {
    const service = await startService({ JOURNAL: 'memory:' });
    const socket: Socket = connect(service.port, '127.0.0.1').setEncoding('utf8');
    opened.push(() => socket.destroy());
    // One whose head has begun is not idle, and is answered before the process ends.
    socket.write('GET /readyz HTTP/1.1\r\nHost: x\r\n');
    expect((await ask(`${service.url}/healthz`)).status).toBe(200);
    process.kill(service.pid, 'SIGTERM');
    // From then on nobody can connect.
    const isOpen = () =>
      fetch(`${service.url}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      );
    while (await isOpen());
    socket.write('\r\n');
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1.1 503 /);
    expect(answer).toContain('"reasons":[{"reason":"draining"');
  });
});

describe('the health check of the container', () => {
  const check = async (env: Record<string, string>) => {
    const child = spawn('bash', ['deploy/healthcheck.sh'], {
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [stdout, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
    return { code, stdout };
  };

  test('exits 0 while the service can serve, and 1 with the reasons while it cannot', async () => {
    const directory = await makeDirectory();
    const service = await startService({ JOURNAL: `lmdb:${directory}` });
    const PORT = String(service.port);
    expect(await check({ PORT })).toEqual({ code: 0, stdout: '' });
    for (const HOST of ['0.0.0.0', '::', '127.0.0.1']) {
      expect((await check({ PORT, HOST })).code).toBe(0);
    }
    await rm(directory, { recursive: true });
    const sick = await check({ PORT });
    expect(sick.code).toBe(1);
    expect(JSON.parse(sick.stdout).detail).toMatch(/^The journal cannot be written: /);
    await service.kill('SIGTERM');
    expect((await check({ PORT })).code).toBe(1);
  });
});
