import { once } from 'node:events';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, connect as connectSocket, type Socket } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import Koa from 'koa';
import request from 'supertest';
import { type EventStream, type SseOptions, sse } from '../src/index.js';
import { serve, type TestServer } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';

let server: TestServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
  jest.restoreAllMocks();
});

/** An app of one event stream, with all that it hands on and all that it reports. */
function eventStreamApp(options: SseOptions = {}) {
  const app = new Koa();
  const events = sse(options);
  const streams: EventStream[] = [];
  const errors: Error[] = [];
  app.on('error', (error: Error) => errors.push(error));
  app.use(events).use((ctx) => {
    streams.push(ctx.eventStream);
  });
  return { app, events, streams, errors };
}

describe('the head', () => {
  test('has the SSE headers and arrives before any event', async () => {
    const { app, streams } = eventStreamApp();
    server = await serve(app);
    const client = await connect(server.url);
    expect(client.response.statusCode).toBe(200);
    expect(client.response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      connection: 'keep-alive',
    });
    expect(client.bytes()).toHaveLength(0);
    expect(streams).toHaveLength(1);
    client.abort();
  });

  test('says that the body ends with the connection: frames are sent as they are, unchunked', async () => {
    const { app, streams } = eventStreamApp();
    server = await serve(app);
    const socket = rawGet(server);
    const [head] = await once(socket, 'data');
    expect(String(head)).not.toMatch(/transfer-encoding|content-length/i);
    streams[0]?.send({ data: 'x' });
    expect(String((await once(socket, 'data'))[0])).toBe('data: x\n\n');
    streams[0]?.end();
    await once(socket.resume(), 'end');
    socket.destroy();
  });

  test('HEAD answers the same headers and registers nothing', async () => {
    const { app, events, streams } = eventStreamApp();
    const response = await request(app.callback()).head('/');
    expect(response.status).toBe(200);
    expect(response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
    });
    expect(streams).toHaveLength(0);
    expect(events.streams.size).toBe(0);
  });

  test.each(['text/html', 'application/json', 'text/event-stream;q=0'])(
    'a request that excludes event streams is answered 406: Accept: %s',
    async (accept) => {
      const { app, streams } = eventStreamApp();
      for (const method of ['get', 'head'] as const) {
        expect((await request(app.callback())[method]('/').set('Accept', accept)).status).toBe(406);
      }
      expect(streams).toHaveLength(0);
    },
  );

  test.each(['text/event-stream', '*/*', 'text/*', ''])(
    'a request that allows event streams gets one: Accept: %s',
    async (accept) => {
      const { app } = eventStreamApp();
      server = await serve(app);
      const client = await connect(server.url, { Accept: accept });
      expect(client.response.statusCode).toBe(200);
      client.abort();
    },
  );

  test('says keep-alive on HTTP/1.1 alone: HTTP/1.0 ends the body with the connection', async () => {
    const { app } = eventStreamApp();
    server = await serve(app);
    const socket = connectSocket((server.server.address() as AddressInfo).port, '127.0.0.1');
    socket.write('GET / HTTP/1.0\r\n\r\n');
    const [head] = await once(socket, 'data');
    expect(String(head)).not.toMatch(/keep-alive/i);
    socket.destroy();
  });

  test('has no Connection header on HTTP/2, where it is forbidden', async () => {
    const { app, streams } = eventStreamApp();
    const warn = jest.spyOn(process, 'emitWarning');
    const http2 = createHttp2Server(app.callback()).listen(0);
    const session = connectHttp2(`http://localhost:${(http2.address() as AddressInfo).port}`);
    const stream = session.request({ ':path': '/' });
    const [headers] = (await once(stream, 'response')) as [Record<string, string>];
    expect(headers[':status']).toBe(200);
    expect(headers.connection).toBeUndefined();
    streams[0]?.send({ data: 'over HTTP/2' });
    expect(String((await once(stream, 'data'))[0])).toBe('data: over HTTP/2\n\n');
    expect(warn).not.toHaveBeenCalled();
    session.destroy();
    http2.close();
  });
});

describe('the stream', () => {
  test('is ctx.body, and what is sent to it arrives', async () => {
    const app = new Koa();
    app.use(sse()).use((ctx) => {
      expect(ctx.body).toBe(ctx.eventStream);
      ctx.eventStream.send({ id: '1', event: 'currentTime', data: 'now' });
    });
    server = await serve(app);
    const client = await connect(server.url);
    expect(await client.next()).toEqual({ id: '1', event: 'currentTime', data: 'now' });
    client.abort();
  });

  test('has its first frames leave together with the head', async () => {
    const app = new Koa();
    app.use(sse()).use((ctx) => {
      ctx.eventStream.send({ id: '1' });
      ctx.eventStream.send({ data: 'at once' });
    });
    server = await serve(app);
    const socket = rawGet(server);
    const [first] = await once(socket, 'data');
    expect(String(first)).toMatch(/^HTTP\/1\.1 200 .*\r\n\r\nid: 1\n\ndata: at once\n\n$/s);
    socket.destroy();
  });

  test('arrives whole and in order where the client pauses, up to what was sent before its end', async () => {
    const { app, streams } = eventStreamApp();
    server = await serve(app);
    const client = await connect(server.url);
    const stream = streams[0] as EventStream;
    client.response.pause();
    const frames = 2_000;
    for (let n = 0; n < frames; n++) stream.send({ id: String(n), data: 'x'.repeat(10_000) });
    expect(stream.stalled).toBe(true);
    stream.end();
    client.response.resume();
    const ids = (await client.take(frames)).map(({ id }) => Number(id));
    expect(ids).toEqual(Array.from({ length: frames }, (_, n) => n));
    await client.ended;
  });

  test('holds a client that pauses to its high-water mark: it drains when the client reads on', async () => {
    const { app, streams } = eventStreamApp();
    server = await serve(app);
    const client = await connect(server.url);
    const stream = streams[0] as EventStream;
    client.response.pause();
    let sent = 0;
    while (!stream.stalled || stream.readableFlowing) {
      while (!stream.stalled) {
        stream.send({ data: 'x'.repeat(1_000) });
        sent += 1;
      }
      await new Promise(setImmediate);
    }
    expect(stream.writableLength + stream.readableLength).toBeLessThan(40_000);
    client.response.resume();
    await once(stream, 'drain');
    await client.take(sent);
    client.abort();
  });

  test('that is destroyed ends the connection, and with an error it is reported', async () => {
    for (const error of [undefined, new Error('a bug')]) {
      const { app, streams, errors } = eventStreamApp();
      server = await serve(app);
      const client = await connect(server.url);
      streams[0]?.destroy(error);
      await ended(client);
      await new Promise(setImmediate);
      expect(errors).toEqual(error === undefined ? [] : [error]);
      await server.close();
    }
  });

  test('starts although a handler has paused it', async () => {
    const app = new Koa();
    app.use(sse()).use((ctx) => {
      ctx.eventStream.pause();
      ctx.eventStream.send({ data: 'sent' });
    });
    server = await serve(app);
    const client = await connect(server.url);
    expect((await client.next()).data).toBe('sent');
    client.abort();
  });

  test('is sent in chunks where somebody has asked for them', async () => {
    const app = new Koa();
    app.use(sse()).use((ctx) => {
      ctx.set('Transfer-Encoding', 'chunked');
      ctx.eventStream.send({ data: 'chunked' });
      ctx.eventStream.end();
    });
    server = await serve(app);
    const client = await connect(server.url);
    expect(client.response.headers['transfer-encoding']).toBe('chunked');
    expect((await client.next()).data).toBe('chunked');
    await client.ended;
  });

  test('the server ends it cleanly', async () => {
    const { app, events, streams, errors } = eventStreamApp();
    server = await serve(app);
    const client = await connect(server.url);
    streams[0]?.send({ data: 'last' });
    events.streams.end();
    expect(await client.next()).toMatchObject({ data: 'last' });
    await client.ended;
    expect(events.streams.size).toBe(0);
    expect(errors).toEqual([]);
  });

  test.each([
    [{ 'Last-Event-ID': '17-4' }, '/?lastEventID=17-3', '17-4'],
    [{}, '/?lastEventID=17-3', '17-3'],
    [{}, '/?lastEventID=17-3&lastEventID=1', '17-3'],
    [{ 'Last-Event-ID': '' }, '/?lastEventID=17-3', '17-3'],
    [{ 'Last-Event-ID': Buffer.from('größer').toString('latin1') }, '/', 'größer'],
    [{}, '/', ''],
  ])('knows the last event id: header %j, URL %s', async (headers, path, lastEventId) => {
    const { app, streams } = eventStreamApp();
    server = await serve(app);
    const client = await connect(server.url + path, headers as Record<string, string>);
    expect(streams[0]?.lastEventId).toBe(lastEventId);
    client.abort();
  });
});

describe('a handler below', () => {
  test('that throws is answered with its error, and its stream is closed', async () => {
    const app = new Koa();
    const events = sse();
    let stream: EventStream | undefined;
    app.use(events).use((ctx) => {
      stream = ctx.eventStream;
      ctx.throw(403, 'not yours');
    });
    const response = await request(app.callback()).get('/');
    expect(response.status).toBe(403);
    expect(response.text).toBe('not yours');
    expect(stream?.destroyed).toBe(true);
    expect(events.streams.size).toBe(0);
  });

  test('that throws what looks like a lost connection, but is not its own, is reported', async () => {
    const app = new Koa();
    const errors: Error[] = [];
    app.on('error', (error: Error) => errors.push(error));
    app.use(sse()).use(() => {
      throw Object.assign(new Error('the database'), { code: 'ECONNRESET' });
    });
    expect((await request(app.callback()).get('/')).status).toBe(500);
    expect(errors.map(({ message }) => message)).toEqual(['the database']);
  });

  test('that destroys the stream with an error ends neither the process nor in silence', async () => {
    const app = new Koa();
    const reported = deferred<Error>();
    app.on('error', (error: Error) => reported.resolve(error));
    app.use(sse()).use((ctx) => {
      ctx.eventStream.destroy(new Error('a bug'));
    });
    server = await serve(app);
    await ended(await connect(server.url));
    expect((await reported.promise).message).toBe('a bug');
  });

  test('has its stream closed before middleware above goes on, whose failure then is reported', async () => {
    const app = new Koa();
    const reported = deferred<Error>();
    app.on('error', (error: Error) => reported.resolve(error));
    let stream: EventStream | undefined;
    app.use(async (_, next) => {
      await next();
      throw new Error(`stream closed: ${stream?.closed}`);
    });
    app.use(sse()).use((ctx) => {
      stream = ctx.eventStream;
      stream.send({ data: 'sent' });
    });
    server = await serve(app);
    const client = await connect(server.url);
    expect((await client.next()).data).toBe('sent');
    stream?.end();
    await ended(client);
    expect((await reported.promise).message).toBe('stream closed: true');
  });

  test('that answers with a body of its own answers with its type, not as an event stream', async () => {
    const app = new Koa();
    app.use(sse()).use((ctx) => {
      ctx.body = { not: 'a stream' };
    });
    const response = await request(app.callback()).get('/');
    expect(response.type).toBe('application/json');
    expect(response.headers['x-accel-buffering']).toBeUndefined();
    expect(response.headers['cache-control']).toBeUndefined();
  });

  test('that answers with something else is heard, and its stream is closed', async () => {
    const app = new Koa();
    let stream: EventStream | undefined;
    app.use(sse()).use((ctx) => {
      stream = ctx.eventStream;
      ctx.status = 204; // tells an EventSource to stop reconnecting
      ctx.body = null;
    });
    const response = await request(app.callback()).get('/');
    expect(response.status).toBe(204);
    expect(stream?.destroyed).toBe(true);
  });
});

describe('heartbeats', () => {
  test('are comments from one timer for all streams', async () => {
    const timers = jest.spyOn(globalThis, 'setInterval');
    const { app, streams } = eventStreamApp({ heartbeatMs: 20 });
    server = await serve(app);
    const clients = await Promise.all([1, 2, 3].map(() => connect(server?.url as string)));
    for (const client of clients) {
      expect(await client.nextComment()).toBe('');
      expect(await client.nextComment()).toBe('');
    }
    expect(timers.mock.calls.filter(([, ms]) => ms === 20)).toHaveLength(1);
    expect(clients[0]?.bytes().toString()).toMatch(/^(:\n\n)+$/);
    for (const client of clients) client.abort();
    await Promise.all(streams.map((stream) => stream.closed || once(stream, 'close')));
  });

  test('stop with the last stream and start again with the next', async () => {
    const clear = jest.spyOn(globalThis, 'clearInterval');
    const { app, streams } = eventStreamApp({ heartbeatMs: 20 });
    server = await serve(app);
    for (const round of [0, 1]) {
      const client = await connect(server.url);
      await client.nextComment();
      const stopped = clear.mock.calls.length;
      const stream = streams[round] as EventStream;
      client.abort();
      await once(stream, 'close');
      expect(clear.mock.calls.length).toBe(stopped + 1);
    }
  });

  test('are not started for a stream that a handler has closed already', async () => {
    const timers = jest.spyOn(globalThis, 'setInterval');
    const app = new Koa();
    app.use(sse({ heartbeatMs: 20 })).use(async (ctx) => {
      ctx.eventStream.destroy();
      await once(ctx.eventStream, 'close');
    });
    server = await serve(app);
    await ended(await connect(server.url));
    expect(timers.mock.calls.filter(([, ms]) => ms === 20)).toHaveLength(0);
  });

  test('are not sent with heartbeatMs 0', () => {
    const timers = jest.spyOn(globalThis, 'setInterval');
    sse({ heartbeatMs: 0 });
    expect(timers).not.toHaveBeenCalled();
  });

  test.each([-1, 0.5, Number.NaN, 2 ** 31])('refuse an impossible interval: %p', (heartbeatMs) => {
    expect(() => sse({ heartbeatMs })).toThrow(/^heartbeatMs is a whole number/);
  });

  test('are not the only option that is checked at once', () => {
    expect(() => sse({ highWaterMark: -1 })).toThrow(RangeError);
  });
});

describe('a client that leaves', () => {
  test('is no error: nothing is reported, nothing is printed', async () => {
    const { app, events, streams, errors } = eventStreamApp();
    const print = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    server = await serve(app);
    const client = await connect(server.url);
    const stream = streams[0] as EventStream;
    stream.send({ data: 'x' });
    await client.next();
    client.abort();
    await once(stream, 'close');
    await new Promise(setImmediate);
    expect(errors).toEqual([]);
    expect(print).not.toHaveBeenCalled();
    expect(events.streams.size).toBe(0);
  });

  test('is no error in an app without an error listener either', async () => {
    const print = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const app = new Koa();
    const closed = new Promise<void>((resolve) => {
      app.use(sse()).use((ctx) => {
        ctx.eventStream.once('close', resolve);
      });
    });
    server = await serve(app);
    (await connect(server.url)).abort();
    await closed;
    await new Promise(setImmediate);
    expect(print).not.toHaveBeenCalled();
  });

  test('before the handlers are done is cleaned up too', async () => {
    const app = new Koa();
    const events = sse();
    const arrived = deferred<Socket>();
    const made = deferred<EventStream>();
    app.use(async (ctx, next) => {
      arrived.resolve(ctx.req.socket);
      await once(ctx.req.socket, 'close');
      await next();
    });
    app.use(events).use((ctx) => made.resolve(ctx.eventStream));
    server = await serve(app);
    const socket = rawGet(server);
    await arrived.promise;
    socket.destroy();
    const stream = await made.promise;
    if (!stream.closed) await once(stream, 'close');
    expect(events.streams.size).toBe(0);
  });

  test('with requests waiting behind the first on its connection leaves none of them', async () => {
    const { app, events, streams } = eventStreamApp();
    const warn = jest.spyOn(process, 'emitWarning');
    server = await serve(app);
    const socket = rawGet(server, 50);
    await once(socket, 'data');
    while (streams.length < 50) await new Promise(setImmediate);
    expect(events.streams.size).toBe(50);
    socket.destroy();
    await Promise.all(streams.map((stream) => stream.closed || once(stream, 'close')));
    expect(events.streams.size).toBe(0);
    expect(warn).not.toHaveBeenCalled();
  });

  test('over HTTP/2 is no error either', async () => {
    const { app, streams, errors } = eventStreamApp();
    const http2 = createHttp2Server(app.callback()).listen(0);
    const session = connectHttp2(`http://localhost:${(http2.address() as AddressInfo).port}`);
    for (const leave of ['stream', 'session']) {
      const stream = session.request({ ':path': '/' });
      stream.on('error', () => undefined);
      await once(stream, 'response');
      const served = streams.at(-1) as EventStream;
      if (leave === 'stream') stream.close();
      else session.destroy();
      if (!served.closed) await once(served, 'close');
    }
    await new Promise(setImmediate);
    expect(errors).toEqual([]);
    http2.close();
  });

  test('1,000 times, some before the first byte, leaves no stream, timer or listener', async () => {
    const { app, events, streams, errors } = eventStreamApp({ heartbeatMs: 50 });
    server = await serve(app);
    const started = jest.spyOn(globalThis, 'setInterval');
    const stopped = jest.spyOn(globalThis, 'clearInterval');
    for (let round = 0; round < 20; round += 1) {
      await Promise.all(
        Array.from({ length: 50 }, async (_, n) => {
          const socket = rawGet(server as TestServer).resume();
          await once(socket, 'connect');
          if (n % 3 === 0) socket.resetAndDestroy();
          else if (n % 3 === 1) socket.end();
          else {
            await once(socket, 'data');
            socket.destroy();
          }
          if (!socket.closed) await once(socket, 'close');
        }),
      );
    }
    await allConnectionsClosed(server);
    await Promise.all(streams.map((stream) => stream.closed || once(stream, 'close')));
    expect(streams.length).toBeGreaterThan(300);
    expect(events.streams.size).toBe(0);
    const heartbeats = started.mock.results.filter((_, n) => started.mock.calls[n]?.[1] === 50);
    const cleared = stopped.mock.calls.map(([timer]) => timer);
    expect(heartbeats.length).toBeGreaterThan(0);
    expect(cleared).toEqual(expect.arrayContaining(heartbeats.map(({ value }) => value)));
    for (const stream of streams) {
      expect(stream.destroyed).toBe(true);
      expect(stream.listenerCount('drain')).toBe(0);
    }
    expect(errors).toEqual([]);
  });
});

function rawGet({ server }: TestServer, times = 1): Socket {
  const socket = connectSocket((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => undefined);
  const get = 'GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n';
  socket.write(get.repeat(times));
  return socket;
}

/** Resolves when the connection has ended, in whatever way. */
const ended = (client: SseClient) => client.ended.catch(() => undefined);

function deferred<T>() {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}

async function allConnectionsClosed({ server }: TestServer): Promise<void> {
  const count = () =>
    new Promise<number>((resolve, reject) =>
      server.getConnections((error, open) => (error ? reject(error) : resolve(open))),
    );
  while ((await count()) > 0) await new Promise(setImmediate);
}
