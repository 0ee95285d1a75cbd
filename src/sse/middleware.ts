import type { Middleware, ParameterizedContext } from 'koa';
import { Audience } from './audience.js';
import { EventStream, isClientAbort } from './event-stream.js';

export interface SseOptions {
  /**
   * Milliseconds between heartbeat comments, which keep proxies from closing a quiet connection and
   * find out clients that vanished without a word. 0 sends none. Default: 15,000.
   */
  readonly heartbeatMs?: number;
  /** Bytes held for a client that does not read. Default: 16 KiB. */
  readonly highWaterMark?: number;
}

/** What `sse()` adds to the context of the middleware below it. */
export interface SseContext {
  /** The client's stream, the same object as `ctx.body`. */
  eventStream: EventStream;
}

export type SseMiddleware = Middleware<object, SseContext> & {
  /** Every stream that this middleware has open: count it, or `end()` it when the process stops. */
  readonly streams: Audience;
};

/** The longest delay that Node's timers keep: a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Makes a route an event stream: sets the headers, assigns an {@link EventStream} to `ctx.body` and
 * hands it to the middleware below as `ctx.eventStream`.
 *
 * The head is sent as soon as the middleware below has returned, so that one which throws is still
 * answered with its error. It therefore hands the stream on (to an audience, to a subscription) and
 * returns; one that awaits the end of the stream would keep Koa from ever starting it. `HEAD` is answered
 * here: what may refuse a request whatever its method, such as authorization, stands above.
 *
 * @throws {RangeError} if `heartbeatMs` is no interval a timer can keep.
 */
export function sse({ heartbeatMs = 15_000, ...streamOptions }: SseOptions = {}): SseMiddleware {
  if (!Number.isInteger(heartbeatMs) || heartbeatMs < 0 || heartbeatMs > MAX_TIMER_MS) {
    throw new RangeError(
      `heartbeatMs is an integer from 0 to ${MAX_TIMER_MS}, not ${String(heartbeatMs)}.`,
    );
  }
  const streams = new Audience();
  let heartbeat: NodeJS.Timeout | undefined;

  /** One timer for all streams, running while there are any. */
  function register(stream: EventStream): void {
    streams.add(stream);
    if (heartbeatMs === 0 || !stream.writable) return;
    heartbeat ??= setInterval(() => streams.comment(), heartbeatMs).unref();
    stream.on('close', () => {
      if (streams.size > 0) return;
      clearInterval(heartbeat);
      heartbeat = undefined;
    });
  }

  const middleware: Middleware<object, SseContext> = async function sse(ctx, next) {
    if (!ctx.accepts('text/event-stream')) {
      ctx.throw(406, 'This is an event stream: accept text/event-stream to read it.');
    }
    setHeaders(ctx);
    if (ctx.method === 'HEAD') {
      ctx.status = 200;
      return;
    }

    const stream = new EventStream({ ...streamOptions, lastEventId: lastEventId(ctx) });
    ctx.eventStream = stream;
    ctx.body = stream;
    ignoreClientAbort(ctx);
    try {
      await next();
    } catch (error) {
      stream.destroy();
      throw error;
    }

    if (ctx.body !== stream) {
      stream.destroy(); // The middleware below has answered with something else.
    } else if (ctx.writable) {
      register(stream);
      ctx.flushHeaders(); // Without it `open` would fire with the first event, whenever that is.
    }
  };
  return Object.assign(middleware, { streams });
}

function setHeaders(ctx: ParameterizedContext): void {
  ctx.set({
    'Content-Type': 'text/event-stream; charset=utf-8',
    // no-transform keeps compressing proxies and middleware from holding frames back,
    'Cache-Control': 'no-cache, no-transform',
    // and this does the same for nginx.
    'X-Accel-Buffering': 'no',
  });
  // HTTP/2 has no such header; Node warns about it.
  if (ctx.req.httpVersionMajor === 1) ctx.set('Connection', 'keep-alive');
}

/**
 * The id of the last event this client saw: the header that browsers send when they reconnect, else the
 * query parameter for those that cannot set one. Empty if there is neither.
 */
function lastEventId(ctx: ParameterizedContext): string {
  // Browsers send the id's UTF-8 bytes; Node reads header values as Latin-1.
  const header = Buffer.from(ctx.get('Last-Event-ID'), 'latin1').toString();
  return header || [ctx.query.lastEventID].flat()[0] || '';
}

/**
 * Koa reports every body whose client left before its end as an application error, with a stack trace.
 * For an event stream there is no other end, so that report stops here; all others go on to the app.
 */
function ignoreClientAbort(ctx: ParameterizedContext): void {
  const { onerror } = ctx;
  ctx.onerror = (error) => {
    if (!isClientAbort(error)) onerror.call(ctx, error);
  };
}
