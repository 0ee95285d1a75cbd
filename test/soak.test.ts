import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';

/** An attack takes a second at least. */
const SECONDS = 1.5;
/** Small, and without a bound on time: a machine that runs tests does other things, too. */
const SHORT = [
  ['--minutes', String(SECONDS / 60)],
  ['--phase', 'loopback'],
  ['--journal', 'memory:'],
  ['--fill', '5000'],
].flat();

const directory = mkdtempSync(join(tmpdir(), 'koa-sse-hub-soak-test-'));
const running = new Set<ChildProcess>();

/** A run has a beginning and an end that take as long again. */
jest.setTimeout(60_000);

afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

function start(...args: string[]) {
  const child = spawn(process.execPath, ['soak/main.js', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  let output = '';
  const waiting = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    for (const look of waiting) look();
  });
  const exited = new Promise<{ code: number | null; output: string }>((resolve) => {
    child.on('close', (code) => {
      running.delete(child);
      resolve({ code, output });
    });
  });
  const printed = (pattern: RegExp) =>
    new Promise<RegExpMatchArray>((resolve) => {
      const look = () => {
        const match = output.match(pattern);
        if (match) resolve(match);
      };
      waiting.add(look);
      look();
    });
  return { child, exited, printed };
}

describe('npm run soak', () => {
  const file = join(directory, 'passes.json');
  let passing: ReturnType<typeof start>;
  let failing: ReturnType<typeof start>;

  // Side by side: they wait most of the time.
  beforeAll(() => {
    passing = start('--attack', 'badTokens', ...SHORT, '--max-p99=10000', '--output', file);
    failing = start(...SHORT, '--max-p99=0', '--output', join(directory, 'fails.json'));
  });

  test('makes the attacks of a seed again', async () => {
    const plans = ['7', '7', '8'].map(
      (seed) => start('--hostile', '--plan', '--seed', seed).exited,
    );
    const [first, again, other] = (await Promise.all(plans)).map(({ output }) => output);
    expect(first).toMatch(/^lane 1: \w+, \d+\.\d s\n/);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });

  test('refuses an attack that it does not have', async () => {
    const { code } = await start('--list', '--attack', 'x').exited;
    expect(code).toBe(0);
    const child = spawn(process.execPath, ['soak/main.js', '--attack', 'x']);
    let errors = '';
    child.stderr.on('data', (text) => {
      errors += text;
    });
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(1);
    expect(errors).toMatch(/^There is no attack x: see --list\.\n/);
  });

  test('passes where hostile clients hurt nobody, and reports what the honest ones got', async () => {
    const { code, output } = await passing.exited;
    expect(output).toMatch(/\nEverything was as it must be\.\n$/);
    expect(code).toBe(0);
    const { phases } = JSON.parse(readFileSync(file, 'utf8'));
    expect(phases).toHaveLength(1);
    expect(phases[0].honest.counts.acknowledged).toBeGreaterThan(100);
    expect(phases[0].honest.counts.received).toBeGreaterThan(1_000);
    expect(phases[0].hostile.statuses.badTokens['401']).toBeGreaterThan(10);
  });

  test('fails with a reason where honest clients wait longer than they may', async () => {
    const { code, output } = await failing.exited;
    expect(code).toBe(1);
    expect(output).toMatch(/\n- loopback: publish to receive: p99 \d+ ms, more than 0 ms\n/);
  });

  test('leaves no process behind, even if it is killed', async () => {
    const { child, printed, exited } = start(...SHORT, '--minutes', '1');
    const [, pid = ''] = await printed(/ process (\d+)\n/);
    expect(isAlive(Number(pid))).toBe(true);
    child.kill('SIGKILL');
    await exited;
    while (isAlive(Number(pid))) await new Promise(setImmediate);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
