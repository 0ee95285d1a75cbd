import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, jest, test } from '@jest/globals';

const directory = mkdtempSync(join(tmpdir(), 'koa-sse-hub-soak-test-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Three nodes are started and started again, and what was published has to get to everybody in the end. */
jest.setTimeout(120_000);

/** Runs `npm run soak -- --cluster`; resolves with its exit code, what it printed and its report. */
async function soak(...args: string[]) {
  const file = join(directory, 'report.json');
  const all = ['soak/main.js', '--cluster', '--output', file, ...args];
  const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
    execFile(process.execPath, all, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
  return { code, output, report: () => JSON.parse(readFileSync(file, 'utf8')) };
}

describe('npm run soak -- --cluster', () => {
  test('makes the failures of a seed again', async () => {
    const plan = async (seed: string) => (await soak('--plan', '--seed', seed)).output;
    expect(await plan('7')).toMatch(/^\w+, node \d, then \d\.\d s of peace\n/);
    expect(await plan('7')).toBe(await plan('7'));
    expect(await plan('8')).not.toBe(await plan('7'));
  });

  test('everybody has what the journal has, in order, once, whatever is killed, cut off or frozen', async () => {
    const { code, output, report } = await soak(
      ...['--minutes', '0.2', '--crowd', '200', '--seed', '11'],
      ...['nodeKilled', 'nodeStopped', 'redisKilled', 'networkCut', 'answersLost'].flatMap(
        (name) => ['--failure', name],
      ),
    );
    expect(output).toMatch(/\nEverything was as it must be\.\n$/);
    expect(code).toBe(0);
    const { events, honest } = report();
    expect(events.length).toBeGreaterThanOrEqual(2);
    expect(honest.counts.acknowledged).toBeGreaterThan(100);
    expect(honest.counts.received).toBeGreaterThan(1_000);
  });

  test('fails where updates that were acknowledged are lost', async () => {
    const { code, output } = await soak(
      ...['--minutes', '0.03', '--crowd', '0', '--seed', '1', '--nodes', '1'],
      ...['--persistence', 'none', '--failure', 'redisKilled'],
    );
    expect(output).toMatch(/\n- (gap|missed|the journal is not what was told), \d+ times?: /);
    expect(code).toBe(1);
  });

  test('leaves no process behind, even if it is killed', async () => {
    const child = spawn(process.execPath, ['soak/main.js', '--cluster', '--crowd', '0']);
    let output = '';
    child.stdout.setEncoding('utf8');
    for await (const text of child.stdout) {
      output += text;
      if (output.includes('redis://')) break;
    }
    const [, pids = '', port = ''] = /processes ([\d, ]+); redis:.*:(\d+)/.exec(output) ?? [];
    expect(pids.split(', ')).toHaveLength(3);
    expect(await isListening(Number(port))).toBe(true);
    child.kill('SIGKILL');
    while (pids.split(', ').some((pid) => isAlive(Number(pid)))) await new Promise(setImmediate);
    while (await isListening(Number(port))) await new Promise(setImmediate);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
