import { createWriteStream, readdirSync, readFileSync, readlinkSync, truncateSync } from 'node:fs';
import { appendFile, mkdtemp, open, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { rawConnect } from './support/raw-client.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { connect, type SseClient } from './support/sse-client.js';

const MEGABYTE = 1024 * 1024;

let folder: string;
let log: string;
let clients: SseClient[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'koa-sse-hub-tail-'));
  log = join(folder, 'app.log');
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.abort();
  await killPrograms();
  await rm(folder, { recursive: true });
});

const start = (...args: string[]) => runProgram('scripts/example.js', { args: ['tail', ...args] });

/** A client that follows the log already. */
async function follow(program: Program): Promise<SseClient> {
  const client = await connect(program.url);
  clients.push(client);
  expect(await client.next()).toMatchObject({ event: 'start', data: log });
  return client;
}

/** Resolves when the client has received this text, and nothing else. */
async function received(client: SseClient, expected: string): Promise<void> {
  let text = '';
  while (text.length < expected.length) text += (await client.next()).data;
  expect(text).toBe(expected);
}

describe('the example tail', () => {
  test('sends what a log gets from now on, characters whole', async () => {
    await writeFile(log, 'from before\n');
    const client = await follow(await start(log));
    await appendFile(log, 'one\ntwo: ');
    await received(client, 'one\ntwo: ');
    const [first, rest] = [Buffer.from('☃\n').subarray(0, 2), Buffer.from('☃\n').subarray(2)];
    await appendFile(log, first);
    await appendFile(log, rest);
    await received(client, '☃\n');
  });

  test('goes on with the file that takes the name, and misses nothing of the old one', async () => {
    await writeFile(log, '');
    const client = await follow(await start(log));
    const writer = await open(log, 'a');
    await writer.write('old\n');
    await rename(log, join(folder, 'app.log.1'));
    await writer.write('still old\n');
    await writer.close();
    await writeFile(log, 'new\n');
    await received(client, 'old\nstill old\nnew\n');
    await appendFile(log, 'newer\n');
    await received(client, 'newer\n');
  });

  test('reads a file that was truncated from its start', async () => {
    await writeFile(log, 'x'.repeat(100));
    const client = await follow(await start(log));
    await appendFile(log, 'before\n');
    await received(client, 'before\n');
    truncateSync(log);
    await appendFile(log, 'after\n');
    await received(client, 'after\n');
  });

  test('reads no faster than a client reads, who misses nothing', async () => {
    await writeFile(log, '');
    const program = await start(log);
    const slow = await rawConnect(program.url);
    slow.send('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await slow.received(/event: start\n.*\n\n/);
    slow.socket.pause();
    const fast = await follow(program);

    const text = `${'x'.repeat(1023)}\n`;
    const size = 64 * MEGABYTE;
    await pipeline(Readable.from(pieces(text, size)), createWriteStream(log));
    for (let length = 0; length < size; ) length += (await fast.next()).data.length;
    // One file for the fast client; what the buffers of a connection take, for the slow one.
    if (process.platform === 'linux') expect(bytesRead(program)).toBeLessThan(size * 1.5);

    const all = (size / text.length) * 1023;
    await new Promise<void>((resolve) => {
      let length = 0;
      slow.socket.removeAllListeners('data').on('data', (bytes: string) => {
        length += bytes.split('x').length - 1;
        if (length >= all) resolve();
      });
      slow.socket.resume();
    });
    slow.socket.destroy();
  });

  test('closes the file when its client leaves', async () => {
    await writeFile(log, '');
    const program = await start(log);
    const [first, second] = [await follow(program), await follow(program)];
    if (process.platform === 'linux') expect(openFiles(program)).toBe(2);
    first.abort();
    while (process.platform === 'linux' && openFiles(program) > 1) await appendFile(log, 'x');
    await appendFile(log, 'end');
    for (let text = ''; !text.endsWith('end'); ) text += (await second.next()).data;
    expect(program.stderr()).toBe('');
  });

  test('does not start without a file', async () => {
    await expect(start()).rejects.toMatchObject({
      stderr: 'There is no file. Name one: npm run example tail FILE\n',
    });
    await expect(start(log)).rejects.toMatchObject({ stderr: expect.stringContaining(log) });
  });
});

function* pieces(text: string, size: number): Iterable<string> {
  const piece = text.repeat(1024);
  for (let written = 0; written < size; written += piece.length) yield piece;
}

/** How much a process has read so far, of files and of all else. */
function bytesRead({ pid }: Program): number {
  const [, bytes] = /^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8')) ?? [];
  return Number(bytes);
}

/** How often a process has the log open. */
function openFiles({ pid }: Program): number {
  const descriptors = `/proc/${pid}/fd`;
  return readdirSync(descriptors).filter((name) => isLog(join(descriptors, name))).length;
}

function isLog(descriptor: string): boolean {
  try {
    return readlinkSync(descriptor) === log;
  } catch {
    return false; // Closed since the list was made.
  }
}
