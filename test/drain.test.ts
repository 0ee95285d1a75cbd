import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import { freePort } from './support/free-port.js';
import { type RawClient, rawConnect, statusesOf } from './support/raw-client.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const SETTINGS = { JOURNAL: 'memory:', JWT_KEY };
const MAIN = 'dist/main.js';

afterEach(killPrograms);

async function publishing(data: string): Promise<string> {
  const body = `topic=news&data=${data}`;
  return [
    'POST /hub HTTP/1.1',
    'Host: x',
    `Authorization: Bearer ${await tokenFor()}`,
    'Content-Type: application/x-www-form-urlencoded',
    `Content-Length: ${body.length}`,
    '',
    body,
  ].join('\r\n');
}

/** Sends what a process that does not run finds when it is told to stop: it goes on with the signal and all of this. */
async function whileStopped(service: Program, send: () => Promise<unknown>): Promise<void> {
  process.kill(service.pid, 'SIGSTOP');
  await send();
  process.kill(service.pid, 'SIGTERM');
  process.kill(service.pid, 'SIGCONT');
}

/** That the server has closed the connection in order, after so many answers, all of them 200. */
async function expectAnswers(client: RawClient, count: number): Promise<void> {
  const { text, error } = await client.closed;
  client.socket.destroy();
  if (error !== undefined) throw new Error(`${error} after ${JSON.stringify(text)}`);
  expect(statusesOf(text)).toEqual(Array(count).fill(200));
  // Only the last one may say that it is: a client drops what it is waiting for then.
  const [, ...others] = text.split('HTTP/1.1 ').slice(1).reverse();
  for (const other of others) expect(other).not.toMatch(/^connection: close\r$/im);
}

/** How many connections to a port the system holds that its process has not accepted. */
function waitingToBeAccepted(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const listening = new RegExp(`:${hex} [0-9A-F]+:0000 0A [0-9A-F]+:([0-9A-F]+)`);
  const counts = ['/proc/net/tcp', '/proc/net/tcp6'].map((file) =>
    Number.parseInt(listening.exec(readFileSync(file, 'utf8'))?.[1] ?? '0', 16),
  );
  return Math.max(...counts);
}

describe.each([{}, { DRAIN_DELAY_MS: '0' }])('a service with %j that is told to stop', (env) => {
  const start = async (): Promise<Program> => {
    const service = await runProgram(MAIN, { env: { ...SETTINGS, ...env } });
    await service.printed(/listens on/);
    return service;
  };

  test('answers requests whose connections it has not accepted yet', async () => {
    const service = await start();
    const request = await publishing('new');
    const clients: RawClient[] = [];
    await whileStopped(service, async () => {
      for (let count = 0; count < 200; count++) {
        clients.push((await rawConnect(service.url)).send(request));
      }
      // A client is connected a moment before its connection waits there.
      while (waitingToBeAccepted(service.port) < clients.length) await nextTurn();
    });
    await Promise.all(clients.map((client) => expectAnswers(client, 1)));
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });

  test('answers requests on connections that were idle', async () => {
    const service = await start();
    const request = await publishing('kept');
    const clients = await Promise.all(
      Array.from({ length: 20 }, async () => (await rawConnect(service.url)).send(request)),
    );
    await Promise.all(clients.map((client) => client.received(/\r\n\r\n\d+-\d+$/)));
    await whileStopped(service, async () => {
      for (const client of clients) client.send(request);
    });
    await Promise.all(clients.map((client) => expectAnswers(client, 2)));
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });

  test('answers all requests that were pipelined', async () => {
    const service = await start();
    const request = await publishing('pipelined');
    const clients = await Promise.all(
      Array.from({ length: 20 }, async () => (await rawConnect(service.url)).send(request)),
    );
    await Promise.all(clients.map((client) => client.received(/\r\n\r\n\d+-\d+$/)));
    await whileStopped(service, async () => {
      for (const client of clients) client.send(request.repeat(20));
    });
    await Promise.all(clients.map((client) => expectAnswers(client, 21)));
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });

  test('answers a request that takes longer than a second to arrive', async () => {
    const service = await start();
    const client = await rawConnect(service.url);
    const request = await publishing('slow');
    client.send(request.replace('Host: x\r\n', 'Host: x\r\nExpect: 100-continue\r\n').slice(0, -4));
    await client.received(/100 Continue/);
    process.kill(service.pid, 'SIGTERM');
    // What is idle is cut after a second.
    const idle = await rawConnect(service.url);
    await idle.closed;
    idle.socket.destroy();
    client.send('slow');
    const { text, error } = await client.closed;
    client.socket.destroy();
    expect([error, statusesOf(text)]).toEqual([undefined, [100, 200]]);
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });
});

test('new streams are refused while the open ones end, and all else is answered until the last has ended', async () => {
  const service = await runProgram(MAIN, {
    env: { ...SETTINGS, DRAIN_DELAY_MS: '0', DRAIN_MS: '1500', DRAIN_RETRY_MS: '2000-3000' },
  });
  const open = () => connect(`${service.url}/hub?topic=news`);
  const clients = [await open(), await open(), await open(), await open()];
  const exited = service.kill('SIGTERM');
  const [first, ...others] = clients;
  await first?.ended;

  const refused = await fetch(`${service.url}/hub?topic=news`);
  expect(refused.status).toBe(503);
  expect(refused.headers.get('Retry-After')).toBe('3');
  expect(refused.headers.get('Connection')).toBe('close');
  expect((await refused.json()).detail).toMatch(/^The service is stopping/);
  expect((await fetch(`${service.url}/stream`)).status).toBe(503);

  const published = await fetch(`${service.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${await tokenFor()}` },
    body: new URLSearchParams({ topic: 'news', data: 'meanwhile' }),
  });
  expect(published.status).toBe(200);
  await Promise.all(others.map((client) => client.ended));
  // What was published reaches those whose streams have not ended yet.
  expect(clients[0]?.bytes().toString()).not.toContain('meanwhile');
  for (const client of clients) {
    const retry = Number(/\nretry: (\d+)\n\n$/.exec(client.bytes().toString())?.[1]);
    expect(retry).toBeGreaterThanOrEqual(2_000);
    expect(retry).toBeLessThanOrEqual(3_000);
  }
  expect(clients.at(-1)?.bytes().toString()).toContain('data: meanwhile\n');
  expect(await exited).toEqual({ code: 0, signal: null });
});

test('a second signal ends the process at once', async () => {
  const service = await runProgram(MAIN, {
    env: { ...SETTINGS, DRAIN_DELAY_MS: '0', DRAIN_MS: '600000' },
  });
  await service.printed(/listens on/);
  const client = await connect(`${service.url}/hub?topic=news`);
  process.kill(service.pid, 'SIGTERM');
  // Two signals that come before the first was taken count as one.
  const isRefused = () =>
    connect(`${service.url}/hub?topic=news`).then((other) => {
      other.ended.catch(() => undefined);
      other.abort();
      return other.response.statusCode === 503;
    });
  while (!(await isRefused()));
  client.ended.catch(() => undefined);
  expect(await service.kill('SIGTERM')).toEqual({ code: null, signal: 'SIGTERM' });
});

test.each(['SIGTERM', 'SIGKILL'] as const)(
  'npm start that gets a %s stops the service',
  async (signal) => {
    const port = await freePort();
    const env = { ...process.env, ...SETTINGS, PORT: String(port) };
    const npm = spawn('npm', ['start'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    const listens = new Promise<void>((resolve) => {
      npm.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (output.includes('listens on')) resolve();
      });
    });
    // The service has the same output: it ends when both have.
    const silent = once(npm.stdout, 'end');
    await listens;
    const client = await connect(`http://127.0.0.1:${port}/hub?topic=news`);
    npm.kill(signal);
    await client.ended;
    await silent;
    expect(output).toContain('koa-sse-hub has stopped');
  },
);
