import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from '@jest/globals';
import { freePort } from './support/free-port.js';
import { startRedis } from './support/redis-server.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { startSwitchProxy } from './support/switch-proxy.js';
import { tokenFor } from './support/tokens.js';

const CLIENTS = 2_000;
const DRAIN_MS = 3_000;
/** Milliseconds between two updates, each of which goes to two thousand clients. */
const UPDATE_MS = 200;

interface Report {
  /** How many streams are open. */
  readonly open: number;
  /** When streams have ended, and when their clients have come back. */
  readonly ends: readonly number[];
  readonly returns: readonly number[];
  /** Answers other than 200, and connections that broke. */
  readonly refused: number;
  readonly broken: number;
  /** How many updates the client has received that has received the fewest. */
  readonly leastReceived: number;
}

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await killPrograms();
});

async function ask(herd: ChildProcess, what: 'report' | 'data'): Promise<unknown> {
  herd.send(what);
  const [answer] = await once(herd, 'message');
  return answer;
}

const reportOf = (herd: ChildProcess) => ask(herd, 'report') as Promise<Report>;

async function until(herd: ChildProcess, isThere: (report: Report) => boolean): Promise<Report> {
  for (;;) {
    const report = await reportOf(herd);
    if (isThere(report)) return report;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The most that are within any half second. */
function mostInHalfASecond(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  let first = 0;
  let most = 0;
  for (const [index, time] of sorted.entries()) {
    while ((sorted[first] as number) <= time - 500) first += 1;
    most = Math.max(most, index - first + 1);
  }
  return most;
}

test('2,000 clients of two nodes that restart one after the other miss and repeat nothing, and come back evenly', async () => {
  const redis = await startRedis();
  closing.push(() => redis.close());
  const env = {
    JOURNAL: `redis://127.0.0.1:${redis.port}`,
    JWT_KEY,
    FEEDS: 'none',
    RATE_LIMITS: 'off',
    DRAIN_DELAY_MS: '300',
    DRAIN_MS: String(DRAIN_MS),
    DRAIN_RETRY_MS: '200-1000',
  };
  const ports = [await freePort(), await freePort()] as const;
  const start = (port: number) => runProgram('dist/main.js', { env: { ...env, PORT: `${port}` } });
  const nodes: [Program, Program] = await Promise.all([start(ports[0]), start(ports[1])]);
  const proxy = await startSwitchProxy(ports);
  closing.push(() => proxy.close());
  const herd = fork('test/support/herd-child.mjs', [String(proxy.port), String(CLIENTS)]);
  closing.push(() => herd.kill());
  await until(herd, ({ open }) => open === CLIENTS);

  const headers = { Authorization: `Bearer ${await tokenFor()}` };
  let published = 0;
  let isOver = false;
  const publishing = (async () => {
    while (!isOver) {
      const body = new URLSearchParams({ topic: 'news', data: String(published + 1) });
      const { status } = await fetch(`http://127.0.0.1:${proxy.port}/hub`, {
        method: 'POST',
        headers: { ...headers, Connection: 'close' },
        body,
      });
      expect(status).toBe(200);
      published += 1;
      await new Promise((resolve) => setTimeout(resolve, UPDATE_MS));
    }
  })();

  const returnsOf: number[][] = [];
  for (const index of [0, 1] as const) {
    const before = (await reportOf(herd)).returns.length;
    const exited = nodes[index].kill('SIGTERM');
    // Its readiness is off.
    proxy.use([ports[1 - index] as number]);
    expect(await exited).toEqual({ code: 0, signal: null });
    const { returns } = await until(herd, ({ open }) => open === CLIENTS);
    returnsOf.push(returns.slice(before));
    nodes[index] = await start(ports[index]);
    proxy.use(ports);
  }
  isOver = true;
  await publishing;
  const isComplete = ({ leastReceived }: Report) => leastReceived >= published;
  const { refused, broken } = await until(herd, isComplete);

  const all = Array.from({ length: published }, (_, index) => index + 1);
  const data = (await ask(herd, 'data')) as number[][];
  expect(data.filter((values) => String(values) !== String(all))).toEqual([]);
  expect({ refused, broken }).toEqual({ refused: 0, broken: 0 });
  for (const returns of returnsOf) {
    expect(returns.length).toBeGreaterThanOrEqual(CLIENTS / 2);
    const evenShare = (returns.length * 500) / DRAIN_MS;
    expect(mostInHalfASecond(returns)).toBeLessThan(2 * evenShare);
  }
}, 60_000);
