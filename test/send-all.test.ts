import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import Koa from 'koa';
import request from 'supertest';
import { EventStream, type EventStreamSource, sse } from '../src/index.js';
import { serve, type TestServer } from './support/server.js';
import { connect } from './support/sse-client.js';

const KILOBYTE = 'x'.repeat(1024);

let server: TestServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
  jest.restoreAllMocks();
});

/** An app whose handler is this, and what it reports. */
async function serveHandler(handler: (stream: EventStream) => Promise<unknown>) {
  const app = new Koa();
  const errors: Error[] = [];
  app.on('error', (error: Error) => errors.push(error));
  let finish: (result: unknown) => void = () => undefined;
  const result = new Promise((resolve) => {
    finish = resolve;
  });
  app.use(sse()).use(async ({ eventStream }) => {
    const returned = await handler(eventStream);
    finish(returned);
  });
  server = await serve(app);
  return { url: server.url, result, errors };
}

describe('stream.sendAll', () => {
  const events = [{ id: '1', event: 'token', data: 'Hel' }, { data: 'lo' }];
  test.each<[string, () => EventStreamSource]>([
    ['an array', () => events],
    ['a generator', () => events.values()],
    ['an array of promises', () => events.map(async (event) => event) as never],
    [
      'an async generator',
      async function* source() {
        for (const event of events) {
          await new Promise(setImmediate);
          yield event;
        }
      },
    ],
    ['a Readable of events', () => Readable.from(events)],
    ['a web stream', () => Readable.toWeb(Readable.from(events)) as never],
  ])('sends what %s yields, and says that it was all', async (_, source) => {
    const { url, result } = await serveHandler(async (stream) => {
      const isAll = await stream.sendAll(source());
      stream.end();
      return isAll;
    });
    const client = await connect(url);
    await client.ended;
    expect(client.bytes().toString()).toBe('id: 1\nevent: token\ndata: Hel\n\ndata: lo\n\n');
    expect(await result).toBe(true);
  });

  test('sends each text as the data of an event, and bytes as text, whole characters', async () => {
    const bytes = Buffer.from('größer');
    const { url } = await serveHandler(async (stream) => {
      await stream.sendAll(['two\nlines', '']);
      await stream.sendAll(Readable.from([bytes.subarray(0, 3), bytes.subarray(3)]));
      await stream.sendAll([bytes.subarray(0, 3)]);
      stream.end();
    });
    const client = await connect(url);
    const data = (await client.take(6)).map((event) => event.data);
    expect(data).toEqual(['two\nlines', '', 'gr', 'ößer', 'gr', '\ufffd']);
    await client.ended;
  });

  test('reads a source no faster than its client reads, and all of it in the end', async () => {
    let yielded = 0;
    const total = 20_000;
    function* source() {
      while (yielded < total) {
        yielded += 1;
        yield { id: String(yielded), data: KILOBYTE };
      }
    }
    let stream: EventStream | undefined;
    const { url } = await serveHandler(async (eventStream) => {
      stream = eventStream;
      await eventStream.sendAll(source());
      eventStream.end();
    });
    const client = await connect(url);
    client.response.pause();
    await whenStill(() => yielded);
    expect(yielded).toBeLessThan(total); // The rest is what the system's buffers do not hold.
    expect((stream?.writableLength ?? 0) + (stream?.readableLength ?? 0)).toBeLessThan(64 * 1024);
    client.response.resume();
    const ids = (await client.take(total)).map(({ id }) => Number(id));
    expect(ids).toEqual(Array.from({ length: total }, (_, n) => n + 1));
  });

  test('leaves the event loop to others, however fast source and client are', async () => {
    let isOver = false;
    function* source() {
      while (!isOver) yield 'x';
    }
    const { url } = await serveHandler((stream) => stream.sendAll(source()));
    const client = await connect(url);
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    isOver = true;
    client.abort();
  });

  test.each(['between two items', 'while an item is waited for', 'while the client does not read'])(
    'closes the source when the client leaves %s, and says that it was not all',
    async (when) => {
      let opened: EventStream | undefined;
      let closed: () => void = () => undefined;
      const whenClosed = new Promise<void>((resolve) => {
        closed = resolve;
      });
      async function* source(stream: EventStream) {
        try {
          yield 'first';
          if (when === 'while an item is waited for') {
            await delay(60_000, undefined, { signal: stream.signal });
          }
          for (;;) {
            if (when === 'between two items') await new Promise(setImmediate);
            yield KILOBYTE;
          }
        } finally {
          closed();
        }
      }
      const { url, result, errors } = await serveHandler((stream) => {
        opened = stream;
        return stream.sendAll(source(stream));
      });
      const client = await connect(url);
      await client.next();
      if (when === 'while the client does not read') {
        client.response.pause();
        while (!opened?.stalled) await new Promise(setImmediate);
      }
      client.abort();
      await whenClosed;
      expect(await result).toBe(false);
      expect(errors).toEqual([]);
    },
  );

  test('destroys a Readable, which never yields, when the client leaves', async () => {
    const source = new Readable({ read: () => undefined });
    const { url, result } = await serveHandler((stream) => {
      stream.comment();
      return stream.sendAll(source);
    });
    const client = await connect(url);
    client.abort();
    await once(source, 'close');
    expect(await result).toBe(false);
  });

  test('cancels a web stream whose next item is waited for when the client leaves', async () => {
    let cancel: () => void = () => undefined;
    const cancelled = new Promise<void>((resolve) => {
      cancel = resolve;
    });
    const source = new ReadableStream<string>({
      start: (controller) => controller.enqueue('first'),
      cancel,
    });
    const { url, result } = await serveHandler((stream) => stream.sendAll(source));
    const client = await connect(url);
    await client.take(1);
    client.abort();
    await cancelled;
    expect(await result).toBe(false);
  });

  test('a source that fails as it is closed, or that nobody has read, does not end the process', async () => {
    const uncaught = jest.fn();
    process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught);
    try {
      const fail = () => {
        throw new Error('cannot be closed');
      };
      const sources = [
        createReadStream('/there/is/no/such/file'),
        new Readable({ read() {}, destroy: (_, done) => done(new Error('cannot be closed')) }),
        Object.assign(['text'], { destroy: fail }),
        Object.assign(['text'], { destroy: async () => fail() }),
        { [Symbol.iterator]: () => ({ next: fail, return: fail }) },
      ];
      for (const source of sources) {
        const stream = new EventStream();
        stream.destroy();
        expect(await stream.sendAll(source)).toBe(false);
        if (source instanceof Readable) {
          await new Promise<void>((resolve) => {
            source.once('close', resolve);
          });
        }
        await new Promise(setImmediate);
      }
      expect(uncaught).not.toHaveBeenCalled();
    } finally {
      process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught);
    }
  });

  test('reads nothing for a client that has left before, and closes the source', async () => {
    const stream = new EventStream();
    stream.destroy();
    const source = Readable.from(['never sent']);
    expect(await stream.sendAll(source)).toBe(false);
    expect(source.destroyed).toBe(true);
  });

  test('interleaves several sources in whole frames', async () => {
    async function* source(name: string) {
      for (let n = 0; n < 500; n++) {
        yield { event: name, data: `${n}\n${KILOBYTE}` };
        if (n % 7 === 0) await new Promise(setImmediate);
      }
    }
    const { url } = await serveHandler(async (stream) => {
      await Promise.all(['a', 'b', 'c'].map((name) => stream.sendAll(source(name))));
      stream.end();
    });
    const client = await connect(url);
    const received = await client.take(1_500);
    for (const name of ['a', 'b', 'c']) {
      const data = received.filter(({ event }) => event === name).map((event) => event.data);
      expect(data).toEqual(Array.from({ length: 500 }, (_, n) => `${n}\n${KILOBYTE}`));
    }
    await client.ended;
  });

  test('throws what its source throws: before the first event it is the answer', async () => {
    const app = new Koa();
    app.use(sse()).use(async (ctx) => {
      await ctx.eventStream.sendAll(
        // biome-ignore lint/correctness/useYield: it fails before.
        (async function* source() {
          await new Promise(setImmediate);
          ctx.throw(404, 'no such model');
        })(),
      );
    });
    const response = await request(app.callback()).get('/');
    expect([response.status, response.text]).toEqual([404, 'no such model']);
  });

  test('refuses what is no source, or yields no events, and closes that', async () => {
    const stream = new EventStream();
    for (const source of ['text', Buffer.from('bytes'), { data: 'event' }, undefined, 7]) {
      await expect(stream.sendAll(source as never)).rejects.toThrow(/^A source is an iterable/);
    }
    for (const item of [7, undefined, true]) {
      const source = Readable.from([item === undefined ? 1 : item]);
      await expect(stream.sendAll(source as never)).rejects.toThrow(/^A source yields events/);
      expect(source.destroyed).toBe(true);
    }
    await expect(stream.sendAll([null] as never)).rejects.toThrow('not null');
    await expect(stream.sendAll([{ event: 'a\nb' }])).rejects.toThrow(
      'event contains a line break',
    );
    expect(stream.listenerCount('close')).toBe(0);
  });
});

describe('stream.send', () => {
  test('awaited in a loop waits for the client: little is queued for one that does not read', async () => {
    let sent = 0;
    let stream: EventStream | undefined;
    const { url, result } = await serveHandler(async (eventStream) => {
      stream = eventStream;
      while (await eventStream.send({ data: KILOBYTE })) sent += 1;
      return sent;
    });
    const client = await connect(url);
    client.response.pause();
    await whenStill(() => sent);
    const { writableLength, readableLength } = stream as EventStream;
    expect(writableLength + readableLength).toBeLessThan(64 * 1024);
    client.response.resume();
    const before = sent;
    while (sent < before + 100) await new Promise(setImmediate);
    client.abort();
    expect(await result).toBe(sent);
  });

  test('not awaited in a loop is told by a process warning, once', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const stream = new EventStream();
    for (let n = 0; n < 5_000; n++) stream.send({ data: KILOBYTE });
    const warnings = warn.mock.calls.filter(([text]) => String(text).includes('await stream.send'));
    expect(warnings).toHaveLength(1);
    stream.destroy();
  });
});

describe('stream.signal', () => {
  test('aborts when the client leaves', async () => {
    const { url, result } = await serveHandler(async (stream) => {
      const { signal } = stream;
      expect(signal).toBe(stream.signal);
      expect(signal.aborted).toBe(false);
      stream.comment();
      await once(signal, 'abort');
      return signal.aborted;
    });
    (await connect(url)).abort();
    expect(await result).toBe(true);
  });

  test('is aborted already where the stream has closed', () => {
    const stream = new EventStream();
    stream.destroy();
    expect(stream.signal.aborted).toBe(true);
  });
});

/** Resolves when a count has begun and stands still: what counts waits for something. */
async function whenStill(count: () => number): Promise<void> {
  for (let before = -1; before !== count() || before === 0; ) {
    before = count();
    await delay(100);
  }
}
