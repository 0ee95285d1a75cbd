import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, connect as connectSocket, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { constants, createGzip } from 'node:zlib';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import Koa from 'koa';
import request from 'supertest';
import { Audience, type EventStream, type SseOptions, type StreamEnd, sse } from '../src/index.js';
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

  test.each([
    'text/html',
    'application/json',
    'text/event-stream;q=0',
    '*/*, text/event-stream; q=0.000',
  ])('a request that excludes event streams is answered 406: Accept: %s', async (accept) => {
    const { app, streams } = eventStreamApp();
    for (const method of ['get', 'head'] as const) {
      expect((await request(app.callback())[method]('/').set('Accept', accept)).status).toBe(406);
    }
    expect(streams).toHaveLength(0);
  });

  test.each([
    'text/event-stream',
    '*/*',
    'text/*',
    '',
    'text/event-stream;charset=utf-8',
    'text/html;q=0, text/*;q=0.1',
  ])('a request that allows event streams gets one: Accept: %s', async (accept) => {
    const { app } = eventStreamApp();
    server = await serve(app);
    const client = await connect(server.url, { Accept: accept });
    expect(client.response.statusCode).toBe(200);
    client.abort();
  });

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

describe("middleware above, by Koa's rules,", () => {
  test('goes on while the stream is open, and sets headers, cookies and the status', async () => {
    const app = new Koa();
    let stream: EventStream | undefined;
    app.use(async (ctx, next) => {
      await next();
      await new Promise(setImmediate); // As a session does that is stored.
      ctx.set('X-Response-Time', '1 ms');
      ctx.cookies.set('session', 'of this client');
      ctx.status = 203;
      expect(ctx.body).toBe(stream);
      expect(ctx.headerSent).toBe(false);
    });
    app.use(sse()).use((ctx) => {
      stream = ctx.eventStream;
      stream.send({ data: 'sent before the head' });
    });
    server = await serve(app);
    const client = await connect(server.url);
    expect(client.response.statusCode).toBe(203);
    expect(client.response.headers).toMatchObject({
      'x-response-time': '1 ms',
      'set-cookie': [expect.stringMatching(/^session=/)],
      'content-type': 'text/event-stream; charset=utf-8',
    });
    expect((await client.next()).data).toBe('sent before the head');
    expect(stream?.destroyed).toBe(false);
    stream?.send({ data: 'later' });
    expect((await client.next()).data).toBe('later');
    client.abort();
  });

  test('is told by stream.closed how the stream ended, for a request log', async () => {
    const app = new Koa();
    const ends = deferred<StreamEnd>();
    let opened = 0;
    app.use(async (ctx, next) => {
      await next();
      opened += 1;
      (ctx.body as EventStream).closed.then(ends.resolve);
    });
    app.use(sse()).use((ctx) => {
      ctx.eventStream.send({ data: 'sent' });
      setImmediate(() => ctx.eventStream.end());
    });
    server = await serve(app);
    const client = await connect(server.url);
    await client.ended;
    expect(opened).toBe(1);
    const end = await ends.promise;
    const bytes = client.bytes().length;
    expect(end).toEqual({ reason: 'ended', bytes, events: 1, duration: end.duration });
    expect(end.duration).toBeGreaterThan(0);
    expect(end.duration).toBeLessThan(10_000);
  });

  test('that throws before the head has left is answered with its error, and the stream closes', async () => {
    const app = new Koa();
    const streams: EventStream[] = [];
    const events = sse();
    app.use(async (ctx, next) => {
      await next();
      ctx.throw(409, 'no session today');
    });
    app.use(events).use((ctx) => {
      streams.push(ctx.eventStream);
      ctx.eventStream.send({ data: 'never sent' });
    });
    server = await serve(app);
    const response = await fetch(server.url);
    expect([response.status, await response.text()]).toEqual([409, 'no session today']);
    expect(response.headers.get('content-type')).toMatch(/^text\/plain/);
    expect(await streams[0]?.closed).toMatchObject({ reason: 'unused' });
    expect(events.streams.size).toBe(0);
  });

  test('may answer with another body: its type is that of the body, and the stream closes', async () => {
    const app = new Koa();
    let stream: EventStream | undefined;
    app.use(async (ctx, next) => {
      await next();
      ctx.body = { maintenance: true };
    });
    app.use(sse()).use((ctx) => {
      stream = ctx.eventStream;
    });
    const response = await request(app.callback()).get('/');
    expect(response.type).toBe('application/json');
    expect(response.body).toEqual({ maintenance: true });
    expect(response.headers['x-accel-buffering']).toBeUndefined();
    expect(stream?.destroyed).toBe(true);
  });

  test('may make another body of the stream, such as its bytes compressed', async () => {
    const { app, events, streams } = eventStreamApp();
    const compressing = new Koa();
    compressing.use(async (ctx, next) => {
      await next();
      ctx.set('Content-Encoding', 'gzip');
      ctx.body = (ctx.body as EventStream).pipe(createGzip({ flush: constants.Z_SYNC_FLUSH }));
    });
    for (const middleware of app.middleware) compressing.use(middleware);
    server = await serve(compressing);
    const response = fetch(server.url);
    while (events.streams.size === 0) await new Promise(setImmediate);
    streams[0]?.send({ data: 'compressed' });
    streams[0]?.end();
    expect(await (await response).text()).toBe('data: compressed\n\n');
    expect(await streams[0]?.closed).toMatchObject({ reason: 'ended' });
  });

  test('that catches an error of a handler answers as it would without sse()', async () => {
    for (const answer of [{ status: 418, body: { no: 'coffee' } }, { status: 503 }, {}]) {
      const app = new Koa();
      app.use(async (ctx, next) => {
        await next().catch(() => Object.assign(ctx, answer));
      });
      app.use(sse()).use((ctx) => {
        ctx.eventStream.send({ data: 'never sent' });
        throw new Error('a bug');
      });
      const response = await request(app.callback()).get('/');
      expect(response.status).toBe(answer.status ?? 404);
      expect(response.type).toBe(answer.body ? 'application/json' : 'text/plain');
      expect(response.headers['x-accel-buffering']).toBeUndefined();
    }
  });

  test('may be another sse(): the one below has the stream that is sent', async () => {
    const app = new Koa();
    const outer = sse();
    const inner = sse();
    app
      .use(outer)
      .use(inner)
      .use((ctx) => {
        ctx.eventStream.send({ data: 'once' });
      });
    server = await serve(app);
    const client = await connect(server.url);
    expect(client.response.headers['content-type']).toMatch(/^text\/event-stream/);
    expect((await client.next()).data).toBe('once');
    expect([outer.streams.size, inner.streams.size]).toEqual([0, 1]);
    client.abort();
  });
});

describe('a handler that still runs', () => {
  test('has the head and its first events leave at the end of the turn in which it sends', async () => {
    for (const send of [
      (stream: EventStream) => stream.send({ data: 'first' }),
      (stream: EventStream) => stream.comment('first'),
      (stream: EventStream) => stream.write('data: first\n\n'),
      (stream: EventStream) => new Audience().add(stream).send({ data: 'first' }),
    ]) {
      const app = new Koa();
      const finish = deferred<void>();
      app.use(sse()).use(async ({ eventStream }) => {
        await new Promise(setImmediate);
        send(eventStream);
        await finish.promise;
        eventStream.send({ data: 'last' });
        eventStream.end();
      });
      server = await serve(app);
      const socket = rawGet(server);
      let text = '';
      socket.on('data', (bytes) => {
        text += bytes;
      });
      while (!text.includes('first')) await once(socket, 'data');
      expect(text).toMatch(/^HTTP\/1\.1 200 /);
      finish.resolve();
      await once(socket, 'end');
      expect(text).toMatch(/data: last\n\n$/);
      socket.destroy();
      await server.close();
    }
  });

  test('takes no header from those above when it sends and returns in one turn', async () => {
    const app = new Koa();
    app.use(async (ctx, next) => {
      await next();
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
      ctx.set('X-Above', 'set');
    });
    app.use(sse()).use(async ({ eventStream }) => {
      await new Promise(setImmediate);
      eventStream.send({ data: 'sent' });
      await Promise.resolve();
    });
    server = await serve(app);
    const client = await connect(server.url);
    expect(client.response.headers['x-above']).toBe('set');
    expect((await client.next()).data).toBe('sent');
    client.abort();
  });

  test('and has sent: what is set above is ignored, as Koa does once the head has left', async () => {
    const app = new Koa();
    const returned = deferred<void>();
    app.use(async (ctx, next) => {
      await next();
      ctx.set('X-Above', 'too late');
      ctx.body = 'too late';
      returned.resolve();
    });
    app.use(sse()).use(async ({ eventStream }) => {
      eventStream.send({ data: 'sent' });
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
      eventStream.send({ data: 'and more' });
      eventStream.end();
    });
    server = await serve(app);
    const client = await connect(server.url);
    await returned.promise;
    expect(client.response.headers['x-above']).toBeUndefined();
    expect((await client.take(2)).map(({ data }) => data)).toEqual(['sent', 'and more']);
    client.abort();
  });

  test('and has sent nothing can still be answered with its error', async () => {
    const app = new Koa();
    app.use(sse()).use(async (ctx) => {
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
      ctx.throw(502, 'the model does not answer', { expose: true });
    });
    const response = await request(app.callback()).get('/');
    expect([response.status, response.text]).toEqual([502, 'the model does not answer']);
  });

  test.each(['sent before', 'in chunks', 'over HTTP/2'])(
    'and throws after it has sent breaks the stream for its client, and the app hears of it once: %s',
    async (how) => {
      const app = new Koa();
      const errors: Error[] = [];
      const streams: EventStream[] = [];
      app.on('error', (error: Error) => errors.push(error));
      app.use(sse()).use(async (ctx) => {
        streams.push(ctx.eventStream);
        if (how === 'in chunks') ctx.set('Transfer-Encoding', 'chunked');
        ctx.eventStream.send({ data: 'half of the' });
        await goOn.promise;
        throw Object.assign(new Error('a bug'), { code: 'ECONNRESET' }); // As one of a database.
      });
      const goOn = deferred<void>();
      const received = how === 'over HTTP/2' ? await overHttp2(app) : await overHttp1(app);
      await received.first;
      goOn.resolve();
      await expect(received.end).rejects.toThrow();
      expect(await streams[0]?.closed).toMatchObject({
        reason: 'failed',
        error: { message: 'a bug' },
      });
      await new Promise(setImmediate);
      expect(errors.map(({ message }) => message)).toEqual(['a bug']);
      received.close();
    },
  );

  test.each(['before it has sent', 'after it has sent'])(
    'for a client that has left is no error when what it waits for is aborted: %s',
    async (when) => {
      for (const wait of [
        (signal: AbortSignal) => delay(60_000, undefined, { signal }),
        async (signal: AbortSignal) => {
          await once(signal, 'abort');
          signal.throwIfAborted(); // As `fetch` does: a DOMException, whose code is a number.
        },
      ]) {
        const app = new Koa();
        const errors: Error[] = [];
        const waiting = deferred<EventStream>();
        const returned = deferred<void>();
        app.on('error', (error: Error) => errors.push(error));
        app.use((_, next) => next().finally(returned.resolve));
        app.use(sse()).use(async ({ eventStream }) => {
          if (when === 'after it has sent') {
            eventStream.send({ data: 'sent' });
            await new Promise(setImmediate);
          }
          waiting.resolve(eventStream);
          await wait(eventStream.signal);
        });
        server = await serve(app);
        const socket = rawGet(server);
        const stream = await waiting.promise;
        socket.destroy();
        expect(await stream.closed).toMatchObject({ reason: 'left' });
        await returned.promise;
        await new Promise(setImmediate);
        expect(errors).toEqual([]);
        await server.close();
      }
    },
  );
});

describe('stream.closed', () => {
  test('says that the client has left, that the server has cut it off, or what it failed with', async () => {
    const { app, streams } = eventStreamApp();
    server = await serve(app);
    for (const [act, end] of [
      [(client: SseClient) => client.abort(), { reason: 'left' }],
      [(_: SseClient, stream: EventStream) => stream.destroy(), { reason: 'cut' }],
      [
        (_: SseClient, stream: EventStream) => stream.destroy(new Error('a bug')),
        { reason: 'failed', error: new Error('a bug') },
      ],
    ] as const) {
      const client = await connect(server.url);
      const stream = streams.at(-1) as EventStream;
      act(client, stream);
      expect(await stream.closed).toMatchObject(end);
      expect(await stream.closed).toMatchObject(end); // Also when asked later.
      if (end.reason !== 'left') await ended(client);
    }
  });

  test('counts what a client has not read as not sent', async () => {
    const { app, streams } = eventStreamApp();
    server = await serve(app);
    const client = await connect(server.url);
    const stream = streams[0] as EventStream;
    client.response.pause();
    while (!stream.stalled) {
      stream.send({ data: 'x'.repeat(10_000) });
      await new Promise(setImmediate);
    }
    const before = stream.readableLength + stream.writableLength;
    for (let n = 0; n < 100; n++) stream.send({ data: 'x'.repeat(10_000) });
    expect(before).toBeLessThan(100_000);
    stream.destroy();
    const { bytes } = await stream.closed;
    expect(bytes).toBeGreaterThan(0);
    client.response.resume();
    await ended(client);
    expect(client.bytes().length).toBeLessThanOrEqual(bytes);
  });

  test('says so of a client that left before the handlers were done, on HTTP/1.1 and HTTP/2', async () => {
    for (const version of [1, 2]) {
      const app = new Koa();
      const made = deferred<EventStream>();
      app.use(sse()).use(async ({ eventStream }) => {
        made.resolve(eventStream);
        await eventStream.closed;
      });
      const http =
        version === 1 ? createHttpServer(app.callback()) : createHttp2Server(app.callback());
      await once(http.listen(0), 'listening');
      const { port } = http.address() as AddressInfo;
      const session =
        version === 1 ? connectSocket(port) : connectHttp2(`http://localhost:${port}`);
      if ('request' in session) session.request({ ':path': '/' }).on('error', () => undefined);
      else session.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
      const stream = await made.promise;
      session.destroy();
      expect(await stream.closed).toMatchObject({ reason: 'left', bytes: 0 });
      http.close();
    }
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
    await Promise.all(streams.map((stream) => stream.closed));
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

  test('are not the only option that is checked at once: what sse() does not know is refused', () => {
    expect(() => sse({ heartbeat: 20 } as never)).toThrow(
      'sse() has no option "heartbeat". It has: heartbeatMs, highWaterMark',
    );
    expect(() => sse(15_000 as never)).toThrow('The options of sse() are an object, not number.');
    expect(() => new Audience({ onstall: () => undefined } as never)).toThrow(
      'Audience has no option "onstall". It has: onStall,',
    );
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
    await stream.closed;
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
    await Promise.all(streams.map((stream) => stream.closed));
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
      await served.closed;
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
    await Promise.all(streams.map((stream) => stream.closed));
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

/** A reader of an app's stream: its first bytes, and its end, which rejects where the stream is broken. */
async function overHttp1(app: Koa) {
  const served = await serve(app);
  const client = await connect(served.url);
  client.ended.catch(() => undefined);
  return { first: client.next(), end: client.ended, close: () => void served.close() };
}

async function overHttp2(app: Koa) {
  const http2 = createHttp2Server(app.callback()).listen(0);
  const session = connectHttp2(`http://localhost:${(http2.address() as AddressInfo).port}`);
  const stream = session.request({ ':path': '/' });
  const end = new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
  end.catch(() => undefined);
  const close = () => {
    session.destroy();
    http2.close();
  };
  return { first: once(stream, 'data'), end, close };
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
