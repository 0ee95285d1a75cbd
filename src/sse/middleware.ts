import type { Middleware } from 'koa';
import type { Audience } from './audience.js';
import type { Backlog } from './backlog.js';
import type { AnyEvents } from './event-map.js';
import { EventStream } from './event-stream.js';
import { setHeaders } from './head.js';
import { KoaTransmission } from './koa-transmission.js';
import { OpenStreams, type SseOptions } from './open-streams.js';
import { acceptsEventStream, NOT_ACCEPTABLE, readLastEventId } from './request.js';

/** What `sse()` adds to the context of the middleware below it. */
export interface SseContext<Events extends object = AnyEvents> {
  /** The client's stream, the same object as `ctx.body`. */
  eventStream: EventStream<Events>;
}

/** What {@link sse} makes: Koa middleware that knows which streams it has open. */
export type SseMiddleware<Events extends object = AnyEvents> = Middleware<
  object,
  SseContext<Events>
> & {
  /** Every stream that this middleware has open: count it, or `drain()` or `end()` it when the process stops. */
  readonly streams: Audience<Events>;
  /** What is queued for those of them that do not read. */
  readonly backlog: Pick<Backlog, 'size' | 'bytes' | 'cut'>;
};

/**
 * Makes a route an event stream: sets the headers, assigns an {@link EventStream} to `ctx.body` and
 * hands it to the middleware below as `ctx.eventStream`.
 *
 * The head leaves when all middleware has returned, as it does for any other body in Koa. What stands above goes on as
 * soon as the handlers below have returned, and may set headers and cookies. Where a handler still runs, the head leaves
 * at the end of the turn of the event loop in which the stream was first written to. A handler that waits without
 * sending anything keeps the head: it can send a comment.
 *
 * A handler that throws before the head has left is answered with its error. One that throws later breaks the
 * connection. `HEAD` is answered here: what may refuse a request whatever its method, such as authorization, stands
 * above.
 *
 * @throws {TypeError} for an option that there is not.
 * @throws {RangeError} if an option is no whole number in its range.
 */
export function sse<Events extends object = AnyEvents>(
  options: SseOptions = {},
): SseMiddleware<Events> {
  const open = new OpenStreams<Events>('sse()', options);
  const { streams, backlog, highWaterMark } = open;

  const middleware: Middleware<object, SseContext<Events>> = async function sse(ctx, next) {
    if (!acceptsEventStream(ctx.req)) ctx.throw(406, NOT_ACCEPTABLE);
    setHeaders(ctx);
    if (ctx.method === 'HEAD') {
      ctx.status = 200;
      return;
    }

    const stream = new EventStream<Events>({
      highWaterMark,
      lastEventId: readLastEventId(ctx.req),
    });
    ctx.eventStream = stream;
    ctx.body = stream;
    const transmission = new KoaTransmission(stream as EventStream, ctx, open as OpenStreams);
    try {
      await next();
    } catch (error) {
      transmission.handlersThrew(error);
      throw error;
    }
    transmission.handlersReturned();
  };
  return Object.assign(middleware, { streams, backlog });
}
