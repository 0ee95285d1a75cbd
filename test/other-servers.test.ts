import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  constants,
  createServer as createHttp2Server,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import express, { type NextFunction, type Request, type Response } from 'express';
import Fastify from 'fastify';
import { Hub, openJournal, select } from '../src/hub/index.js';
import {
  type AnyRequest,
  type AnyResponse,
  Audience,
  type EventStream,
  type EventStreamsOptions,
  eventStreams,
} from '../src/index.js';
import { freePort } from './support/free-port.js';
import { rawConnect } from './support/raw-client.js';
import { killPrograms, runProgram } from './support/run-program.js';
import { connect, type SseClient } from './support/sse-client.js';
import { type TemporaryProject, temporaryProject } from './support/temporary-project.js';

const DOCUMENT = readFileSync('docs/other-servers.md', 'utf8');
const FILES = new Map(
  [...DOCUMENT.matchAll(/^<!-- file: (\S+) -->\n```js\n(.*?)^```$/gms)].map(
    ([, name = '', code = '']) => [name, code] as const,
  ),
);

const closing: (() => unknown)[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  await killPrograms();
  for (const close of closing.splice(0).reverse()) await close();
});

describe('docs/other-servers.md', () => {
  let project: TemporaryProject;

  beforeAll(() => {
    project = temporaryProject(FILES, ['express', 'fastify']);
  });
  afterAll(() => project.remove());

  const run = (file: string) => runProgram(file, { cwd: project.folder });

  test.each(['node-http.mjs', 'express.mjs', 'fastify.mjs'])(
    '%s greets, tells the time, answers HEAD and 406, and keeps what was set before',
    async (file) => {
      const program = await run(file);
      const client = await connect(program.url);
      expect(client.response.headers).toMatchObject({
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache, no-transform',
        'x-accel-buffering': 'no',
        ...(file === 'express.mjs'
          ? { 'set-cookie': ['visited=yes; Path=/'], 'x-powered-by': 'Express' }
          : { 'access-control-allow-origin': '*' }),
      });
      expect(await client.next()).toMatchObject({ data: 'hello from stream' });
      const { event, data } = await client.next();
      expect(event).toBe('currentTime');
      expect(new Date(data).toUTCString()).toBe(data);
      client.abort();

      const head = await fetch(program.url, { method: 'HEAD' });
      expect(head.status).toBe(200);
      expect(head.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      const refused = await fetch(program.url, { headers: { Accept: 'text/html' } });
      expect(refused.status).toBe(406);
      expect(await refused.text()).toMatch('accept text/event-stream to read it');
      expect(refused.headers.get('x-accel-buffering')).toBeNull();
      expect(program.stderr()).not.toMatch('at file:'); // No stack of this program.
    },
  );

  test('takes at most six lines of each server, the handler included', () => {
    for (const file of ['node-http.mjs', 'express.mjs', 'fastify.mjs']) {
      const [serving = ''] = FILES.get(file)?.match(/^ *events\.serve\(.*?^ *\}.*?\);$/ms) ?? [];
      expect(serving.split('\n').length).toBeGreaterThan(1);
      expect(serving.split('\n').length).toBeLessThanOrEqual(6);
    }
  });

  test('tokens.mjs sends what a generator yields, and ends', async () => {
    const client = await connect((await run('tokens.mjs')).url);
    await client.ended;
    expect(client.bytes().toString()).toBe(
      'event: token\ndata: "Streams "\n\nevent: token\ndata: "carry "\n\n' +
        'event: token\ndata: "tokens."\n\nevent: end\ndata: \n\n',
    );
  });

  test('gone.mjs answers 204 to a client that has all there is', async () => {
    const { url } = await run('gone.mjs');
    const client = await connect(url);
    expect(await client.next()).toMatchObject({ id: 'last', data: 'all there is' });
    await client.ended;
    const response = await fetch(url, { headers: { 'Last-Event-ID': 'last' } });
    expect(response.status).toBe(204);
  });

  test('four-servers.mjs sends the same to members on all four servers', async () => {
    const ports = await Promise.all([0, 1, 2, 3].map(freePort));
    const code = ports.reduce(
      (text, port, n) => text.replace(`300${n}`, String(port)),
      FILES.get('four-servers.mjs') ?? '',
    );
    const own = temporaryProject([['four-servers.mjs', code]], ['express', 'fastify']);
    closing.push(() => own.remove());
    await runProgram('four-servers.mjs', { cwd: own.folder });
    const clients = await Promise.all(ports.map((port) => whenListening(port)));
    for (const client of clients) {
      let data = '';
      while (data !== 'to 4 clients') ({ data } = await client.next());
    }
    for (const client of clients) client.abort();
  });
});

type Handler = (stream: EventStream) => unknown;
interface Served {
  readonly url: string;
  readonly events: ReturnType<typeof eventStreams>;
  /** What `onError` was told, or the app's error handlers. */
  readonly errors: Error[];
}

type Around = (req: IncomingMessage, res: AnyResponse) => unknown;

/** Each server with a handler, as the document has it; `around` runs before. */
const SERVERS: Record<
  string,
  (handler: Handler, options?: EventStreamsOptions, around?: Around) => Promise<Served>
> = {
  async 'node:http'(handler, options, around) {
    const errors: Error[] = [];
    const events = eventStreams({ onError: (error) => errors.push(error), ...options });
    const server = createServer(async (req, res) => {
      res.setHeader('X-Above', 'set');
      await around?.(req, res);
      events.serve(req, res, handler);
    });
    return { url: await listen(server), events, errors };
  },

  async Express(handler, options, around) {
    const errors: Error[] = [];
    const events = eventStreams(options);
    const app = express();
    app.use((_, res, next) => {
      res.set('X-Above', 'set');
      next();
    });
    app.get('/', async (req, res, next) => {
      await around?.(req, res);
      events.serve(req, res, handler, { next });
    });
    app.use((error: Error & { status?: number }, _: Request, res: Response, next: NextFunction) => {
      if (error.status !== 406) errors.push(error);
      if (res.headersSent) return next(error);
      res.status(error.status ?? 500).send(error.status ? error.message : 'Internal Server Error');
    });
    jest.spyOn(console, 'error').mockImplementation(() => undefined); // Express prints late errors.
    return { url: await listen(createServer(app)), events, errors };
  },

  async Fastify(handler, options, around) {
    const errors: Error[] = [];
    const events = eventStreams({ onError: (error) => errors.push(error), ...options });
    const app = Fastify();
    app.addHook('onRequest', async (_, reply) => {
      reply.header('X-Above', 'set');
    });
    app.get('/', async (request, reply) => {
      reply.hijack();
      await around?.(request.raw, reply.raw);
      events.serve(request.raw, reply.raw, handler, { headers: reply.getHeaders() });
    });
    closing.push(() => app.close());
    await app.listen({ port: 0, host: '127.0.0.1' });
    closing.push(() => app.server.closeAllConnections());
    return {
      url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
      events,
      errors,
    };
  },
};

describe.each(Object.entries(SERVERS))('on %s', (_, serve) => {
  test('the head arrives before any event, without chunks, with what was set before', async () => {
    const streams: EventStream[] = [];
    const { url, events } = await serve((stream) => streams.push(stream));
    const client = await connect(url);
    expect(client.response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      connection: 'keep-alive',
      'x-above': 'set',
    });
    expect(client.response.headers['transfer-encoding']).toBeUndefined();
    expect(events.streams.size).toBe(1);
    streams[0]?.send({ id: '1', data: 'sent' });
    expect(await client.next()).toMatchObject({ id: '1', data: 'sent' });
    streams[0]?.end();
    await client.ended;
    expect(await streams[0]?.closed).toMatchObject({ reason: 'ended' });
    expect(events.streams.size).toBe(0);
  });

  test('HEAD and what accepts no event streams are answered without the handler', async () => {
    const handler = jest.fn();
    const { url, events, errors } = await serve(handler);
    const head = await fetch(url, { method: 'HEAD' });
    expect([head.status, head.headers.get('x-above')]).toEqual([200, 'set']);
    expect(head.headers.get('cache-control')).toBe('no-cache, no-transform');
    for (const accept of ['text/html', 'text/event-stream;q=0, */*', 'application/*;q=1']) {
      const refused = await fetch(url, { headers: { accept } });
      expect([refused.status, refused.headers.get('x-above')]).toEqual([406, 'set']);
      expect(await refused.text()).toMatch('accept text/event-stream');
    }
    expect(handler).not.toHaveBeenCalled();
    expect(events.streams.size).toBe(0);
    expect(errors).toEqual([]);
  });

  test.each([
    [{ 'Last-Event-ID': '17-4' }, '/?lastEventID=17-3', '17-4'],
    [{}, '/?x=1&lastEventID=a%20b', 'a b'],
    [{ 'Last-Event-ID': Buffer.from('größer').toString('latin1') }, '/', 'größer'],
    [{}, '/', ''],
  ])('the stream knows the last event id: header %j, URL %s', async (headers, path, expected) => {
    const { url } = await serve((stream) => stream.send({ data: `"${stream.lastEventId}"` }));
    const client = await connect(url + path, headers as Record<string, string>);
    expect((await client.next()).data).toBe(`"${expected}"`);
    client.abort();
  });

  test('a handler that throws before the head left is answered with its error, told once', async () => {
    for (const [error, status, text] of [
      [new Error('a secret'), 500, 'Internal Server Error'],
      [Object.assign(new Error('not yours'), { status: 403, expose: true }), 403, 'not yours'],
    ] as const) {
      const streams: EventStream[] = [];
      const { url, events, errors } = await serve(async (stream) => {
        streams.push(stream);
        for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
        throw error;
      });
      const response = await fetch(url);
      expect([response.status, await response.text()]).toEqual([status, text]);
      expect(response.headers.get('content-type')).not.toMatch('event-stream');
      expect(response.headers.get('cache-control')).toBeNull();
      expect(response.headers.get('x-above')).toBe('set');
      expect(errors.filter((told) => told !== error)).toEqual([]);
      if (status === 500) expect(errors).toHaveLength(1);
      expect(await streams[0]?.closed).toMatchObject({ reason: 'unused' });
      expect(events.streams.size).toBe(0);
    }
  });

  test('a handler that throws after it has sent breaks the stream for its client, told once', async () => {
    const streams: EventStream[] = [];
    const goOn = deferred<void>();
    const { url, errors } = await serve(async (stream) => {
      streams.push(stream);
      stream.send({ data: 'half of the' });
      await goOn.promise;
      throw Object.assign(new Error('a bug'), { code: 'ECONNRESET' }); // As one of a database.
    });
    const client = await connect(url);
    client.ended.catch(() => undefined);
    await client.next();
    goOn.resolve();
    await expect(client.ended).rejects.toThrow();
    expect(await streams[0]?.closed).toMatchObject({
      reason: 'failed',
      error: { message: 'a bug' },
    });
    await new Promise(setImmediate);
    expect(errors.map(({ message }) => message)).toEqual(['a bug']);
  });

  test('a stream that is destroyed with an error is told once, before the head and after', async () => {
    for (const when of ['before', 'after']) {
      const made = deferred<EventStream>();
      const { url, errors } = await serve((stream) => {
        if (when === 'before') stream.destroy(new Error('a bug'));
        made.resolve(stream);
      });
      if (when === 'before') expect((await fetch(url)).status).toBe(500);
      else {
        const client = await connect(url);
        (await made.promise).destroy(new Error('a bug'));
        await expect(client.ended).rejects.toThrow();
      }
      await new Promise(setImmediate);
      expect(errors.map(({ message }) => message)).toEqual(['a bug']);
    }
  });

  test('a handler that ends the response itself answers with something else', async () => {
    const made = deferred<EventStream>();
    const responses: AnyResponse[] = [];
    const { url, events, errors } = await serve(
      async (stream) => {
        made.resolve(stream);
        (responses[0] as import('node:http').ServerResponse).writeHead(204).end();
        for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
      },
      {},
      (_, res) => responses.push(res),
    );
    expect((await fetch(url)).status).toBe(204);
    expect(await (await made.promise).closed).toMatchObject({ reason: 'unused' });
    expect(events.streams.size).toBe(0);
    expect(errors).toEqual([]);
  });

  test('a client that leaves is no error, whenever it leaves', async () => {
    const made: EventStream[] = [];
    const { url, events, errors } = await serve(async (stream) => {
      made.push(stream);
      if (made.length === 1) return;
      if (made.length === 2) stream.comment();
      await once(stream.signal, 'abort');
      stream.signal.throwIfAborted();
    });
    for (const when of ['idle', 'while the handler sends', 'before the handler has sent']) {
      if (when === 'before the handler has sent') {
        const client = await rawConnect(url);
        client.send(GET);
        while (made.length < 3) await new Promise(setImmediate);
        client.socket.resetAndDestroy();
      } else (await connect(url)).abort();
      expect(await made.at(-1)?.closed).toMatchObject({ reason: 'left' });
    }
    await new Promise(setImmediate);
    expect(errors).toEqual([]);
    expect(events.streams.size).toBe(0);
  });

  test('a client that has left before the stream was made leaves nothing behind', async () => {
    const made = deferred<EventStream>();
    const arrived = deferred<void>();
    const { url, events, errors } = await serve(made.resolve, {}, async (req) => {
      arrived.resolve();
      await once(req.socket, 'close');
    });
    const client = await rawConnect(url);
    client.send(GET);
    await arrived.promise;
    client.socket.destroy();
    expect(await (await made.promise).closed).toMatchObject({ reason: 'left', bytes: 0 });
    expect(events.streams.size).toBe(0);
    expect(errors).toEqual([]);
  });

  test('a client that does not read is held to its high-water mark, and goes on when it reads', async () => {
    const made = deferred<EventStream>();
    const { url, events } = await serve(made.resolve);
    const client = await connect(url);
    const stream = await made.promise;
    client.response.pause();
    const sent = await sendUntilStalled(stream);
    expect(stream.writableLength + stream.readableLength).toBeLessThan(40_000);
    expect(events.backlog.size).toBe(1);
    client.response.resume();
    await once(stream, 'drain');
    await client.take(sent);
    expect(events.backlog.size).toBe(0);
    client.abort();
  });

  test('clients that do not read are cut off beyond what may be queued for all', async () => {
    const made = deferred<EventStream>();
    const onCut = jest.fn();
    const { url, errors } = await serve(made.resolve, { maxQueuedBytes: 1, onCut });
    const client = await connect(url);
    const stream = await made.promise;
    client.response.pause();
    const [end] = await Promise.all([stream.closed, sendUntilStalled(stream)]);
    expect(end).toMatchObject({ reason: 'cut' });
    expect(onCut.mock.calls).toEqual([[stream, 'too much queued']]);
    client.response.resume();
    await ended(client);
    expect(errors).toEqual([]);
  });

  test('quiet streams have heartbeats, and none are left when all have gone', async () => {
    const started = jest.spyOn(globalThis, 'setInterval');
    const stopped = jest.spyOn(globalThis, 'clearInterval');
    const { url, events } = await serve(() => undefined, { heartbeatMs: 20 });
    const clients = [await connect(url), await connect(url)];
    for (const client of clients) expect(await client.nextComment()).toBe('');
    const streams = [...events.streams];
    for (const client of clients) client.abort();
    await Promise.all(streams.map(({ closed }) => closed));
    const timers = started.mock.results.filter((_, n) => started.mock.calls[n]?.[1] === 20);
    expect(timers).toHaveLength(1);
    expect(stopped.mock.calls.map(([timer]) => timer)).toContain(timers[0]?.value);
  });

  test('requests in line on a connection are served, and none is left when it closes', async () => {
    const made: EventStream[] = [];
    const { url, events } = await serve((stream) => {
      made.push(stream);
      stream.send({ data: `number ${made.length}` });
      if (made.length === 1) setImmediate(() => stream.end());
    });
    // In chunks the first body has an end of its own; HTTP/1.1 clients that wait in line need that.
    const client = await rawConnect(url);
    client.send(GET.repeat(20));
    await client.received(/data: number 1\n\n/);
    while (made.length < 2 && events.streams.size > 0) await new Promise(setImmediate);
    client.socket.destroy();
    await Promise.all(made.map((stream) => stream.closed));
    expect(events.streams.size).toBe(0);
  });

  test('a write that somebody has put on the response is not passed by, nor does it hide an error', async () => {
    const written: string[] = [];
    const made = deferred<EventStream>();
    const { url, errors } = await serve(made.resolve, {}, (_, res) => {
      const { write } = res;
      res.write = function note(this: AnyResponse, ...given: unknown[]) {
        written.push(String(given[0]));
        return Reflect.apply(write, this, given);
      } as never;
    });
    const client = await connect(url);
    (await made.promise).send({ data: 'seen' });
    expect((await client.next()).data).toBe('seen');
    expect(written.join('')).toBe('data: seen\n\n');
    (await made.promise).destroy(new Error('a bug'));
    await expect(client.ended).rejects.toThrow();
    await new Promise(setImmediate);
    expect(errors.map(({ message }) => message)).toEqual(['a bug']);
  });
});

describe('over HTTP/2', () => {
  async function overHttp2(handler: Handler, options: EventStreamsOptions = {}) {
    const errors: Error[] = [];
    const events = eventStreams({ onError: (error) => errors.push(error), ...options });
    const server = createHttp2Server((req, res) => {
      events.serve(req, res, handler, { headers: { Connection: 'keep-alive', 'X-Above': 'set' } });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    closing.push(() => server.close());
    closing.push(() => session.destroy());
    return { session, events, errors };
  }

  async function open(session: ClientHttp2Session, headers: Record<string, string> = {}) {
    const stream = session.request({ ':path': '/', ...headers });
    const [head] = (await once(stream, 'response')) as [Record<string, string>];
    return { stream, head };
  }

  test('head, events, HEAD, 406, the last event id and errors are as over HTTP/1.1', async () => {
    const warn = jest.spyOn(process, 'emitWarning');
    const { session, events, errors } = await overHttp2((stream) => {
      if (stream.lastEventId === 'wrong') throw new Error('a bug');
      stream.send({ data: `after "${stream.lastEventId}"` });
    });
    const { stream, head } = await open(session, { 'last-event-id': '17' });
    expect(head).toMatchObject({ ':status': 200, 'x-above': 'set' });
    expect(head.connection).toBeUndefined();
    expect(String((await once(stream, 'data'))[0])).toBe('data: after "17"\n\n');
    expect(events.streams.size).toBe(1);

    const refused = await open(session, { accept: 'text/html' });
    expect(refused.head[':status']).toBe(406);
    const failed = await open(session, { 'last-event-id': 'wrong' });
    expect(failed.head[':status']).toBe(500);
    expect(errors.map(({ message }) => message)).toEqual(['a bug']);
    const bare = session.request({ ':path': '/', ':method': 'HEAD' });
    const [bareHead] = (await once(bare, 'response')) as [Record<string, string>];
    expect(bareHead).toMatchObject({ ':status': 200, 'x-accel-buffering': 'no' });
    expect(warn).not.toHaveBeenCalled();
  });

  test('a handler that throws late resets its stream, and a client that leaves is no error', async () => {
    const made: EventStream[] = [];
    const goOn = deferred<void>();
    const { session, errors } = await overHttp2(async (stream) => {
      made.push(stream);
      stream.send({ data: 'sent' });
      if (made.length > 1) return;
      await goOn.promise;
      throw new Error('a bug');
    });
    const { stream } = await open(session);
    await once(stream, 'data');
    const broken = once(stream, 'end');
    goOn.resolve();
    await expect(broken).rejects.toThrow('NGHTTP2_INTERNAL_ERROR');
    expect(await made[0]?.closed).toMatchObject({ reason: 'failed' });

    const destroyed = await open(session);
    const brokenToo = once(destroyed.stream, 'end');
    made[1]?.destroy(new Error('another bug'));
    await expect(brokenToo).rejects.toThrow('NGHTTP2_INTERNAL_ERROR');

    const second = await open(session);
    second.stream.close();
    expect(await made[2]?.closed).toMatchObject({ reason: 'left' });
    await new Promise(setImmediate);
    expect(errors.map(({ message }) => message)).toEqual(['a bug', 'another bug']);
  });

  test('a client that does not read counts as such until it reads, or leaves', async () => {
    const made: EventStream[] = [];
    const { session, events } = await overHttp2((stream) => {
      made.push(stream);
    });
    for (const goesOn of [true, false]) {
      const { stream } = await open(session);
      const served = made.at(-1) as EventStream;
      stream.on('error', () => undefined);
      await sendUntilStalled(served);
      expect(events.backlog.size).toBe(1);
      if (goesOn) {
        const drained = once(served, 'drain');
        stream.resume();
        await drained;
      }
      stream.close(constants.NGHTTP2_CANCEL);
      await served.closed;
      expect([events.backlog.size, events.backlog.bytes]).toEqual([0, 0]);
    }
  });

  test('clients that do not read are cut off beyond what may be queued for all', async () => {
    const made = deferred<EventStream>();
    const onCut = jest.fn();
    const { session, errors } = await overHttp2(made.resolve, { maxQueuedBytes: 1, onCut });
    const { stream } = await open(session);
    stream.on('error', () => undefined);
    const served = await made.promise;
    const [end] = await Promise.all([served.closed, sendUntilStalled(served)]);
    expect(end).toMatchObject({ reason: 'cut' });
    expect(onCut.mock.calls).toEqual([[served, 'too much queued']]);
    expect(errors).toEqual([]);
  });
});

describe('eventStreams()', () => {
  test('refuses what it does not know', () => {
    expect(() => eventStreams({ heartbeat: 20 } as never)).toThrow(
      'eventStreams() has no option "heartbeat". It has: heartbeatMs,',
    );
    expect(() => eventStreams({ highWaterMark: -1 })).toThrow(RangeError);
    const { serve } = eventStreams();
    const [req, res] = [{} as AnyRequest, {} as AnyResponse];
    expect(() => serve(req, res, () => undefined, { nxt: () => undefined } as never)).toThrow(
      'serve() has no option "nxt". It has: headers, next.',
    );
    expect(() => serve(req, res, undefined as never)).toThrow('A handler is a function');
  });

  test('prints errors where nobody else is told, and what is no error as well', async () => {
    const print = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const events = eventStreams();
    const url = await listen(
      createServer((req, res) => {
        events.serve(req, res, () => {
          throw 'a text';
        });
      }),
    );
    expect((await fetch(url)).status).toBe(500);
    expect(print.mock.calls).toEqual([[new Error('a text was thrown.')]]);
  });

  test('answers headers that cannot be sent with an error', async () => {
    const errors: Error[] = [];
    const events = eventStreams({ onError: (error) => errors.push(error) });
    const url = await listen(
      createServer((req, res) => {
        events.serve(req, res, () => undefined, { headers: { 'X-Wrong': 'a\nb' } });
      }),
    );
    expect((await fetch(url)).status).toBe(500);
    expect(errors).toMatchObject([{ code: 'ERR_INVALID_CHAR' }]);
  });

  test('ends all streams when the process stops', async () => {
    const { url, events } = await (SERVERS['node:http'] as (typeof SERVERS)[string])(
      () => undefined,
    );
    const clients = [await connect(url), await connect(url)];
    events.streams.end();
    await Promise.all(clients.map((client) => client.ended));
    expect(events.streams.size).toBe(0);
  });

  test("gives streams that a hub's subscriptions and an audience take", async () => {
    const hub = await Hub.open(await openJournal('memory:'));
    closing.push(() => hub.close());
    const everyone = new Audience();
    const { url } = await (SERVERS['node:http'] as (typeof SERVERS)[string])((stream) => {
      everyone.add(stream);
      hub.subscribe(stream, select(['news']));
    });
    const client = await connect(url);
    await hub.publish([{ topics: ['news'], data: 'published' }]);
    expect((await client.next()).data).toBe('published');
    everyone.send({ data: 'to everyone' });
    expect((await client.next()).data).toBe('to everyone');
    client.abort();
  });
});

const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n';

async function listen(server: Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Connects as soon as somebody listens. */
async function whenListening(port: number): Promise<SseClient> {
  const url = `http://localhost:${port}`;
  for (;;) {
    const answers = await new Promise((resolve) => {
      const probe = request(url, { method: 'HEAD', agent: false }).end();
      probe.on('response', () => resolve(true)).on('error', () => resolve(false));
    });
    if (answers) return connect(url);
  }
}

/** Sends events until the client's own buffers and the system's are full; returns how many. */
async function sendUntilStalled(stream: EventStream): Promise<number> {
  let sent = 0;
  while (!stream.destroyed && (!stream.stalled || stream.readableFlowing)) {
    while (!stream.stalled && !stream.destroyed) {
      stream.send({ data: 'x'.repeat(1_000) });
      sent += 1;
    }
    await new Promise(setImmediate);
  }
  return sent;
}

const ended = (client: SseClient) => client.ended.catch(() => undefined);

function deferred<T>() {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}
