import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Chat } from '../src/feeds/chat.js';
import { openChat } from '../src/feeds/chat.js';
import { MAX_LIST_BYTES, MessageList } from '../src/feeds/message-list.js';
import type { Service } from '../src/service.js';
import { EventStream } from '../src/sse/event-stream.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY, startTestService } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

interface Message {
  readonly user_id: string;
  readonly message: string;
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly text: string;
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function startService(env: Record<string, string> = {}): Promise<Service> {
  const service = await startTestService(env);
  cleanUps.push(() => service.stop());
  return service;
}

function send(url: string, body: string, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const post = httpRequest(url, {
      agent,
      method: 'POST',
      headers: { ...headers, 'Content-Length': Buffer.byteLength(body) },
    });
    post.on('error', (error: NodeJS.ErrnoException) => {
      // The service has closed the idle connection just then: nobody has seen the request.
      if (post.reusedSocket && error.code === 'ECONNRESET') resolve(send(url, body, headers));
      else reject(error);
    });
    post.on('response', (response) => {
      const { statusCode: status = 0, headers } = response;
      text(response).then(
        (answer) => resolve({ status, retryAfter: headers['retry-after'], text: answer }),
        reject,
      );
    });
    post.end(body);
  });
}

function post({ url }: { url: string }, user: string, message: string): Promise<Answer> {
  const address = `${url}/message?id=${encodeURIComponent(user)}`;
  return send(address, JSON.stringify({ message }), { 'Content-Type': 'application/json' });
}

/** Posts messages, a few dozen at a time, and expects each to be accepted. */
async function flood(service: { url: string }, count: number, message: (n: number) => string) {
  let next = 0;
  const poster = async () => {
    while (next < count) {
      const n = next++;
      expect((await post(service, `user ${n % 10}`, message(n))).status).toBe(200);
    }
  };
  await Promise.all(Array.from({ length: 32 }, poster));
}

async function publish({ url }: { url: string }, data: string): Promise<Answer> {
  return send(`${url}/hub`, new URLSearchParams({ topic: 'news', data }).toString(), {
    'Content-Type': 'application/x-www-form-urlencoded',
    Authorization: `Bearer ${await tokenFor()}`,
  });
}

async function read({ url }: { url: string }, user = 'reader'): Promise<SseClient> {
  const client = await connect(`${url}/messages?id=${encodeURIComponent(user)}`);
  cleanUps.push(() => client.abort());
  return client;
}

async function nextList(client: SseClient): Promise<Message[]> {
  return JSON.parse((await client.next()).data);
}

/** Reads lists until one ends with this message. */
async function listsUntil(client: SseClient, last: string): Promise<Message[][]> {
  const lists: Message[][] = [];
  do lists.push(await nextList(client));
  while (lists.at(-1)?.at(-1)?.message !== last);
  return lists;
}

describe('what is posted to the chat', () => {
  test('takes no room from the updates of the hub', async () => {
    const service = await startService({ JOURNAL_MAX_UPDATES: '1000' });
    expect((await publish(service, 'kept')).status).toBe(200);
    await flood(service, 1_300, (n) => `no. ${n}`);
    const client = await connect(`${service.url}/hub?topic=news&lastEventID=earliest`);
    expect((await client.next()).data).toBe('kept');
    client.abort();
  });

  test.each([
    ['ASCII', 'x'],
    ['three bytes a character', '世'],
    ['escaped in JSON', '\0'],
  ])('comes back in a list of at most 64 KiB, the oldest leave first: %s', async (_, character) => {
    const service = await startService();
    for (let n = 0; n < 40; n += 1) {
      const message = `${n} ${character.repeat(3_990)}.`;
      expect((await post(service, 'flooder', message)).status).toBe(200);
    }
    const client = await read(service);
    const { data } = await client.next();
    const numbers = JSON.parse(data).map(({ message }: Message) => Number.parseInt(message, 10));
    expect(Buffer.byteLength(data)).toBeLessThanOrEqual(MAX_LIST_BYTES);
    expect(Buffer.byteLength(data)).toBeGreaterThan(MAX_LIST_BYTES / 2);
    expect(numbers).toEqual(numbers.map((_: number, n: number) => 40 - numbers.length + n));
  });

  test.each([
    ['line breaks', 'a\r\ndata: b\n\nevent: c'],
    ['control characters', 'a\0\x1b[2J\x7f\u2028b'],
    ['lone surrogates', 'a\ud800b'],
    ['a message of 4,000 characters', '\0'.repeat(3_999).concat('.')],
  ])('arrives as it was posted, in one event: %s', async (_, message) => {
    const service = await startService();
    const client = await read(service);
    await client.next();
    const posted = await post(service, 'a\nb\0', message);
    expect(posted.status).toBe(200);
    expect(JSON.parse(posted.text)).toEqual({ user_id: 'a\nb\0'.trim(), message });
    expect(await nextList(client)).toEqual([{ user_id: 'a\nb\0'.trim(), message }]);
  });

  test('is not encoded while nobody reads, nor for its own sender', async () => {
    const service = await startService();
    const encode = jest.spyOn(MessageList.prototype, 'frame');
    await flood(service, 50, (n) => `${n}`);
    expect(encode).not.toHaveBeenCalled();

    const sender = await read(service, 'user 0');
    await sender.next();
    expect(encode).toHaveBeenCalledTimes(1);
    for (let n = 0; n < 10; n += 1) await post(service, 'user 0', `mine ${n}`);
    expect(encode).toHaveBeenCalledTimes(1);
    await post(service, 'user 1', 'yours');
    expect((await nextList(sender)).slice(-2).map(({ message }) => message)).toEqual([
      'mine 9',
      'yours',
    ]);
  });
});

describe('readers of the chat', () => {
  test('get a list for each message of people who talk', async () => {
    const service = await startService();
    const client = await read(service);
    await client.next();
    for (let n = 1; n <= 30; n += 1) {
      await post(service, 'ada', `${n}`);
      expect(await nextList(client)).toHaveLength(n);
    }
  });

  test('get few lists of a flood, the last of which is complete', async () => {
    const service = await startService();
    const client = await read(service);
    const lists = listsUntil(client, 'the end');
    await flood(service, 1_300, (n) => `${n}`);
    await post(service, 'ada', 'the end');
    const received = await lists;
    expect(received.length).toBeLessThan(400);
    expect(received.at(-1)).toHaveLength(100);
  });

  test('get the messages of two users that come together, the two users as well', async () => {
    const chat = await openTestChat();
    const streams = { ada: new Listener(), bob: new Listener(), eve: new Listener() };
    for (const [user, listener] of Object.entries(streams)) chat.join(listener.stream, user);
    const [ada, bob] = ['ada', 'bob'].map((user_id) => ({ user_id, message: `by ${user_id}` }));
    await Promise.all([chat.post(ada as Message), chat.post(bob as Message)]);
    for (const { lists, changed } of Object.values(streams)) {
      while (lists.length < 2) await changed();
      expect(lists).toEqual([[], [ada, bob]]);
    }
  });

  test('that do not read are skipped, and have the newest list when they read again', async () => {
    const service = await startService();
    const clients = await Promise.all(Array.from({ length: 20 }, () => read(service)));
    for (const client of clients) {
      await client.next();
      client.response.pause();
    }
    await flood(service, 400, (n) => `${n} ${'x'.repeat(3_900)}`);
    await post(service, 'ada', 'the end');
    for (const client of clients) client.response.resume();
    for (const client of clients) await listsUntil(client, 'the end');
  });

  test('that never read hold no more than a list or two each', async () => {
    const chat = await openTestChat();
    const streams = Array.from({ length: 300 }, () => new EventStream());
    for (const [n, stream] of streams.entries()) chat.join(stream, `unread ${n}`);
    for (let n = 0; n < 300; n += 1) {
      await chat.post({ user_id: `${n}`, message: 'x'.repeat(4_000) });
      await new Promise(setImmediate);
    }
    for (const stream of streams) {
      const held = stream.readableLength + stream.writableLength;
      expect(held).toBeGreaterThan(0);
      expect(held).toBeLessThan(2 * MAX_LIST_BYTES + 32 * 1024);
    }
  });

  test('10,000 of as many users are served in turns that leave room for others', async () => {
    const chat = await openTestChat();
    const listeners = Array.from({ length: 10_000 }, () => new Listener());
    for (const [n, { stream }] of listeners.entries()) chat.join(stream, `user ${n}`);
    for (const { lists, changed } of listeners) if (lists.length < 1) await changed();

    let longestMs = 0;
    const start = performance.now();
    let last = start;
    const watch = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - last);
      last = performance.now();
    }, 1);
    await chat.post({ user_id: 'ada', message: 'x'.repeat(4_000) });
    for (const { lists, changed } of listeners) if (lists.length < 2) await changed();
    clearInterval(watch);
    // On a machine that is busy with something else, everything takes longer.
    expect(longestMs).toBeLessThan(Math.max(500, (performance.now() - start) / 2));
  });
});

/** A chat without a service. */
async function openTestChat(): Promise<Chat> {
  const chat = await openChat({ hubJournal: 'memory:', sync: 'disk', log: console.error });
  cleanUps.push(() => chat.close());
  return chat;
}

/** A reader without a network. */
class Listener {
  readonly stream = new EventStream();
  readonly lists: Message[][] = [];
  #arrived: () => void = () => undefined;

  constructor() {
    this.stream.setEncoding('utf8').on('data', (frames: string) => {
      for (const [, json = ''] of frames.matchAll(/^data: (.*)$/gm)) {
        this.lists.push(JSON.parse(json));
      }
      this.#arrived();
    });
  }

  /** Resolves when something has arrived. */
  readonly changed = (): Promise<void> =>
    new Promise((resolve) => {
      this.#arrived = resolve;
    });
}

describe('the journal of the chat', () => {
  let directory: string;
  const start = (env: Record<string, string> = {}): Promise<Program> =>
    runProgram('dist/main.js', { env: { JWT_KEY, JOURNAL: `lmdb:${directory}`, ...env } });

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'chat-'));
    cleanUps.push(() => rmSync(directory, { recursive: true }), killPrograms);
  });

  test.each(['SIGKILL', 'SIGTERM'] as const)(
    'keeps all that was acknowledged before a %s in the middle of posts',
    async (signal) => {
      const acknowledged: string[] = [];
      for (let round = 0; round < 3; round += 1) {
        const service = await start();
        let running = true;
        const posters = Array.from({ length: 4 }, async (_, poster) => {
          for (let n = 0; running; n += 1) {
            const message = `${round}/${poster}/${n}`;
            const answer = await post(service, 'ada', message).catch(() => undefined);
            if (answer?.status === 200) acknowledged.push(message);
            if (running && acknowledged.length >= 25 * (round + 1)) {
              running = false;
              void service.kill(signal);
            }
          }
        });
        await Promise.all(posters);
        await service.exited;
      }
      const list = await nextList(await read(await start()));
      const held = list.map(({ message }) => message);
      expect(held).toEqual(expect.arrayContaining(acknowledged));
      expect(new Set(held).size).toBe(held.length);
    },
  );

  test('is a directory of its own, small whatever is posted', async () => {
    const service = await start({ JOURNAL_SYNC: 'os' });
    const hub = statSync(join(directory, 'data.mdb')).size;
    await flood(service, 1_500, (n) => `${n}${'世'.repeat(3_990)}`);
    expect(statSync(join(directory, 'data.mdb')).size).toBe(hub);
    expect(statSync(join(directory, 'chat', 'data.mdb')).size).toBeLessThan(8 * 1024 * 1024);
  });

  test('is not made if there is no chat', async () => {
    await start({ FEEDS: 'stream,events,counter' });
    expect(existsSync(join(directory, 'chat'))).toBe(false);
  });

  test('that cannot be opened is 503 for the chat, and nothing to the rest', async () => {
    writeFileSync(join(directory, 'chat'), 'in the way');
    const service = await start();
    const posted = await post(service, 'ada', 'Hi');
    expect(posted).toMatchObject({ status: 503, retryAfter: '5' });
    expect(JSON.parse(posted.text).detail).toMatch(/^The chat's journal could not be opened/);
    for (const method of ['GET', 'HEAD']) {
      expect((await fetch(`${service.url}/messages`, { method })).status).toBe(503);
    }
    expect((await publish(service, 'news')).status).toBe(200);
    expect(service.stderr()).toMatch(/^The chat is not available\. .*\/chat is not a directory/m);
    expect(posted.text).not.toContain(directory);
  });

  // A limit on the size of files stands for a disk that is full; only Linux can set another process's.
  const onLinux = process.platform === 'linux' ? test : test.skip;

  onLinux('with a full disk is 503 for posts; readers, the hub and later posts go on', async () => {
    const service = await start({ JOURNAL_SYNC: 'os' });
    await flood(service, 100, () => '世'.repeat(4_000));
    const client = await read(service);
    const before = await nextList(client);
    const limit = (bytes: string) =>
      execFileSync('prlimit', ['--pid', String(service.pid), `--fsize=${bytes}:unlimited`]);

    // The hub's file is smaller than that, the chat's is larger.
    limit(String(256 * 1024));
    for (let n = 0; n < 20; n += 1) {
      const refused = await post(service, 'ada', `${n}`.repeat(1_000));
      expect(refused).toMatchObject({ status: 503, retryAfter: '5' });
      expect(JSON.parse(refused.text).detail).toMatch(/^The chat's journal cannot be written/);
    }
    expect((await publish(service, 'news')).status).toBe(200);
    expect(await nextList(await read(service))).toEqual(before);
    expect(service.stderr().match(/^The chat cannot keep messages/gm)).toHaveLength(1);

    limit('unlimited');
    expect((await post(service, 'ada', 'after')).status).toBe(200);
    expect((await nextList(client)).at(-1)).toEqual({ user_id: 'ada', message: 'after' });
  });
});
