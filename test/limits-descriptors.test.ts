import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { fitConnections } from '../src/limits/descriptors.js';
import { JWT_KEY } from './support/server.js';

const children: ChildProcess[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(
    children.splice(0).map(async (child) => {
      if (child.exitCode !== null) return;
      const exited = once(child, 'close');
      child.kill('SIGKILL');
      await exited;
    }),
  );
});

/** The service where a process may have 128 files open, and what it prints. */
async function start(env: Record<string, string> = {}, nodeArgs = '') {
  const child = spawn('sh', ['-c', `ulimit -n 128; exec node ${nodeArgs} dist/main.js`], {
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      PORT: '0',
      HOST: '127.0.0.1',
      JOURNAL: 'memory:',
      JWT_KEY,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  const printed = (pattern: RegExp) =>
    new Promise<RegExpMatchArray>((resolve, reject) => {
      const look = () => {
        const match = output.match(pattern);
        if (match) resolve(match);
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      child.once('close', () => reject(new Error(`exited without printing ${pattern}: ${output}`)));
      look();
    });
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  // The port that it got is not in its URL's default: it is printed.
  const [, port] = await printed(/listens on http:\/\/[^:]+:(\d+)\n/);
  return { child, port: Number(port), printed, output: () => output };
}

/** What has node run a program before the service, which takes descriptors when it is told to by SIGUSR2. */
function importing(program: string): string {
  return `--import 'data:text/javascript,${encodeURIComponent(program)}'`;
}

/** What a request on a connection of its own is answered first; empty if it is closed without a word. */
async function statusLine(port: number): Promise<string> {
  const socket = connectSocket(port, '127.0.0.1').setEncoding('latin1');
  sockets.push(socket);
  socket.on('error', () => undefined);
  socket.write('GET /stream HTTP/1.1\r\nHost: x\r\n\r\n');
  return new Promise((resolve) => {
    socket.once('data', (text: unknown) => resolve(String(text).split('\r\n')[0] as string));
    socket.once('close', () => resolve(''));
  });
}

describe('few file descriptors', () => {
  test('are told at the start in one line, with how many connections they allow', async () => {
    const { printed, output } = await start();
    await printed(/ulimit -n/);
    expect(output().match(/.*ulimit -n.*/g)).toEqual([
      'The system allows this process 128 open files (ulimit -n), so it takes 64 connections instead of MAX_CONNECTIONS=10000.',
    ]);
  });

  test('are met by a 503 before they run out', async () => {
    const { port, output } = await start();
    const statuses: string[] = [];
    for (let i = 0; i < 70; i++) statuses.push(await statusLine(port));
    expect(statuses.slice(0, 64)).toEqual(Array(64).fill('HTTP/1.1 200 OK'));
    expect(statuses.slice(64)).toEqual(Array(6).fill('HTTP/1.1 503 Service Unavailable'));
    // Many at once, too: those that are not answered are closed, and the service goes on.
    const herd = await Promise.all(Array.from({ length: 300 }, () => statusLine(port)));
    expect(new Set(herd)).toEqual(new Set(['HTTP/1.1 503 Service Unavailable', '']));
    expect(output().split('\n').length).toBeLessThan(8);
  });

  test('that others have taken are told in the log, once and not for each connection', async () => {
    const take = `
      import { openSync } from "node:fs";
      process.once("SIGUSR2", () => {
        try { for (;;) openSync("/dev/null"); } catch {}
      });
    `;
    const { child, port, printed, output } = await start({}, importing(take));
    child.kill('SIGUSR2');
    await printed(/File descriptors are all in use \(EMFILE; ulimit -n is 128\)/);
    for (let i = 0; i < 100; i++) expect(await statusLine(port)).toBe('');
    expect(output().match(/File descriptors/g)?.length).toBeLessThan(4);
  });

  test('that others have nearly all taken are met by a 503', async () => {
    const take = `
      import { openSync, closeSync } from "node:fs";
      process.once("SIGUSR2", () => {
        const taken = [];
        try { for (;;) taken.push(openSync("/dev/null")); } catch {}
        for (const file of taken.slice(-6)) closeSync(file);
      });
    `;
    const { child, port, printed } = await start({}, importing(take));
    child.kill('SIGUSR2');
    await printed(/File descriptors are nearly all in use/);
    expect(await statusLine(port)).toBe('HTTP/1.1 503 Service Unavailable');
  });

  test.each([
    [10_000, undefined, { max: 10_000, surplus: 1_024 }],
    [10_000, 20_000, { max: 10_000, surplus: 1_024 }],
    [10_000, 1_024, { max: 960, surplus: 16 }],
    [10_000, 128, { max: 64, surplus: 16 }],
    [50, 128, { max: 50, surplus: 30 }],
    [10, 20, { max: 1, surplus: 1 }],
  ])('%i connections where %s files may be open are %j', (wanted, descriptors, fitting) => {
    expect(fitConnections(wanted, descriptors)).toEqual(fitting);
  });
});
