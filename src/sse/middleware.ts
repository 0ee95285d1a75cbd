import type { Middleware, ParameterizedContext } from 'koa';
import { Audience } from './audience.js';
import { Backlog, type CutReason } from './backlog.js';
import type { AnyEvents } from './event-map.js';
import { EventStream } from './event-stream.js';
import { setHeaders } from './head.js';
import { assertKnown } from './options.js';
import { Transmission } from './transmission.js';

export interface SseOptions {
  /**
   * Milliseconds between heartbeat comments, which keep proxies from closing a quiet connection and
   * find out clients that vanished without a word. 0 sends none. Default: 15,000.
   */
  readonly heartbeatMs?: number;
  /**
   * Bytes held for a client that does not read, beside the one write that went over them. Default: 16 KiB.
   */
  readonly highWaterMark?: number;
  /**
   * Bytes held for all clients together that do not read; beyond it those that have not read for the longest time
   * are cut off. What several clients share counts once. 0 sets no limit. Default: 256 MiB.
   */
  readonly maxQueuedBytes?: number;
  /** Milliseconds after which a client that has read nothing is cut off. 0, the default, waits for ever. */
  readonly maxStalledMs?: number;
  /** Told of each client that is cut off, before it is. */
  readonly onCut?: (stream: EventStream, reason: CutReason) => void;
}

/** What `sse()` adds to the context of the middleware below it. */
export interface SseContext<Events extends object = AnyEvents> {
  /** The client's stream, the same object as `ctx.body`. */
  eventStream: EventStream<Events>;
}

export type SseMiddleware<Events extends object = AnyEvents> = Middleware<
  object,
  SseContext<Events>
> & {
  /** Every stream that this middleware has open: count it, or `end()` it when the process stops. */
  readonly streams: Audience<Events>;
  /** What is queued for those of them that do not read. */
  readonly backlog: Pick<Backlog, 'size' | 'bytes'>;
};

const OPTIONS: readonly (keyof SseOptions)[] = [
  'heartbeatMs',
  'highWaterMark',
  'maxQueuedBytes',
  'maxStalledMs',
  'onCut',
];

/** The longest delay that Node's timers keep: a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

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
  assertKnown('sse()', options, OPTIONS);
  const { heartbeatMs = 15_000, highWaterMark = 16 * 1024 } = options;
  const { maxQueuedBytes = 256 * 1024 * 1024, maxStalledMs = 0, onCut } = options;
  assertWholeNumber('heartbeatMs', heartbeatMs, MAX_TIMER_MS);
  assertWholeNumber('highWaterMark', highWaterMark, Number.MAX_SAFE_INTEGER);
  assertWholeNumber('maxQueuedBytes', maxQueuedBytes, Number.MAX_SAFE_INTEGER);
  assertWholeNumber('maxStalledMs', maxStalledMs, Number.MAX_SAFE_INTEGER);
  const backlog = new Backlog({ maxBytes: maxQueuedBytes, maxAgeMs: maxStalledMs, onCut });
  let heartbeat: NodeJS.Timeout | undefined;
  const streams = new Audience<Events>({
    onEmpty() {
      clearInterval(heartbeat);
      heartbeat = undefined;
    },
  });

  function register(stream: EventStream): void {
    streams.add(stream as EventStream<Events>);
    // One timer for all streams, running while there are any.
    if (heartbeatMs > 0 && streams.size > 0) {
      heartbeat ??= setInterval(() => streams.comment(), heartbeatMs).unref();
    }
  }

  const owner = { backlog, register };

  const middleware: Middleware<object, SseContext<Events>> = async function sse(ctx, next) {
    if (!acceptsEventStream(ctx)) {
      ctx.throw(406, 'This is an event stream: accept text/event-stream to read it.');
    }
    setHeaders(ctx);
    if (ctx.method === 'HEAD') {
      ctx.status = 200;
      return;
    }

    const stream = new EventStream<Events>({ highWaterMark, lastEventId: readLastEventId(ctx) });
    ctx.eventStream = stream;
    ctx.body = stream;
    const transmission = new Transmission(stream as EventStream, ctx, owner);
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

/** What browsers send is looked at first: negotiating leaves objects behind for as long as the stream lives. */
function acceptsEventStream(ctx: ParameterizedContext): boolean {
  const accept = ctx.get('Accept');
  return (
    accept === 'text/event-stream' || accept === '' || Boolean(ctx.accepts('text/event-stream'))
  );
}

/**
 * The id of the last event this client saw: the header that browsers send when they reconnect, else the
 * query parameter for those that cannot set one. Empty if there is neither.
 */
export function readLastEventId(ctx: Pick<ParameterizedContext, 'get' | 'query'>): string {
  // Browsers send the id's UTF-8 bytes; Node reads header values as Latin-1.
  const header = Buffer.from(ctx.get('Last-Event-ID'), 'latin1').toString();
  return header || [ctx.query.lastEventID].flat()[0] || '';
}

function assertWholeNumber(name: string, value: number, max: number): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${name} is a whole number from 0 to ${max}, not ${String(value)}.`);
  }
}
