import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Http2ServerResponse } from 'node:http2';
import type { Audience } from './audience.js';
import type { Backlog } from './backlog.js';
import { isClientGone } from './client-abort.js';
import type { AnyEvents } from './event-map.js';
import { EventStream } from './event-stream.js';
import { setHeaders, takeBackHeaders } from './head.js';
import { type AnyRequest, OpenStreams, type SseOptions } from './open-streams.js';
import { assertKnown } from './options.js';
import { acceptsEventStream, type Exchange, NOT_ACCEPTABLE, readLastEventId } from './request.js';
import { Transmission } from './transmission.js';

/** The options of {@link eventStreams}: those of `sse()`, and who is told of errors. */
export interface EventStreamsOptions extends SseOptions {
  /**
   * Told of what handlers throw and of what streams are destroyed with, when it has been answered or has broken the
   * connection. A request that is answered with its own mistake (`error.expose`) is not told. Default: printed to
   * standard error.
   */
  readonly onError?: (error: Error, req: AnyRequest) => void;
}

/** What may differ from request to request. */
export interface ServeOptions {
  /** Headers of the response, beside those that are set on it already, such as a framework's own. */
  readonly headers?: ResponseHeaders;
  /**
   * Takes errors in place of `onError`, and answers them where `res.headersSent` is false: Express's `next`. It is also
   * handed a request that does not accept event streams (`error.status` 406).
   */
  readonly next?: (error: Error) => void;
}

/** As those of Node, and as Fastify's `reply.getHeaders()` gives them. */
export type ResponseHeaders = Readonly<
  Record<string, number | string | readonly string[] | undefined>
>;

/** The response to it. */
export type AnyResponse = ServerResponse | Http2ServerResponse;

/** What {@link eventStreams} gives. */
export interface EventStreams<Events extends object = AnyEvents> {
  /**
   * Answers a request with an event stream, and hands the stream to a handler.
   *
   * The head leaves when the handler has returned, or, while it still runs, at the end of the turn of the event loop in
   * which it first sent something. A handler that throws before that is answered with its error (`error.status`, and its
   * message if `error.expose`); one that throws later breaks the connection, so that the client can tell that from an
   * end. A handler that ends the response itself answers with something else.
   *
   * `HEAD`, and requests that do not accept event streams (406), are answered without the handler.
   *
   * Whatever `onError` or `next` throws is an uncaught exception, or a rejection that nobody handles.
   *
   * @returns when the handler has returned and its error, if any, has been told.
   * @throws {TypeError} for an option that there is not, and for a handler that is no function.
   */
  serve(
    req: AnyRequest,
    res: AnyResponse,
    handler: (stream: EventStream<Events>) => unknown,
    options?: ServeOptions,
  ): Promise<void>;
  /** Every stream that is open: count it, or `drain()` or `end()` it when the process stops. */
  readonly streams: Audience<Events>;
  /** What is queued for those of them that do not read. */
  readonly backlog: Pick<Backlog, 'size' | 'bytes' | 'cut'>;
}

/**
 * Event streams for servers without Koa: all that `sse()` does, for requests of bare `node:http`, `node:http2`, Express,
 * Fastify and whatever else hands on Node's own request and response.
 *
 * @throws {TypeError} for an option that there is not.
 * @throws {RangeError} if an option is no whole number in its range.
 */
export function eventStreams<Events extends object = AnyEvents>(
  options: EventStreamsOptions = {},
): EventStreams<Events> {
  const open = new OpenStreams<Events>('eventStreams()', options, ['onError']);
  const { onError = print } = options;
  const { streams, backlog } = open;

  return {
    streams,
    backlog,
    serve(req, res, handler, serveOptions = {}) {
      assertKnown('serve()', serveOptions, ['headers', 'next']);
      if (typeof handler !== 'function') {
        throw new TypeError(
          `A handler is a function that is handed the stream, not ${typeof handler}.`,
        );
      }
      const { headers, next } = serveOptions;
      // What is used of them here, HTTP/2 has as well.
      const exchange = { req, res } as Exchange;
      const tell = (error: HttpError) => {
        if (next !== undefined) return next(error);
        if (!res.headersSent) answer(exchange, error);
        if (error.expose !== true) onError(error, req);
      };
      return run(exchange, handler as Handler, { headers, open: open as OpenStreams, tell });
    },
  };
}

type Handler = (stream: EventStream) => unknown;

interface Served {
  readonly headers: ResponseHeaders | undefined;
  readonly open: OpenStreams;
  /** Tells an error, and answers it where that is still possible. */
  readonly tell: (error: HttpError) => void;
}

async function run(exchange: Exchange, handler: Handler, served: Served): Promise<void> {
  const { req, res } = exchange;
  const { headers, open, tell } = served;
  try {
    if (headers !== undefined) setGiven(exchange, headers);
  } catch (error) {
    return tell(error as Error);
  }
  if (!acceptsEventStream(req)) return tell(notAcceptable());
  setHeaders(exchange);
  if (req.method === 'HEAD') {
    res.end();
    return;
  }

  const { highWaterMark } = open;
  const stream = new EventStream({ highWaterMark, lastEventId: readLastEventId(req) });
  const transmission = new ServedTransmission(stream, exchange, open, tell);
  try {
    await handler(stream);
  } catch (error) {
    transmission.handlerThrew(error);
    return;
  }
  transmission.handlerReturned();
}

/** The transmission of a stream that is handed to one handler: when that returns, the head leaves. */
class ServedTransmission extends Transmission {
  readonly #tell: (error: HttpError) => void;

  constructor(
    stream: EventStream,
    exchange: Exchange,
    open: OpenStreams,
    tell: (error: HttpError) => void,
  ) {
    super(stream, exchange, open);
    this.#tell = tell;
    exchange.res.once('close', () => stream.destroy());
    if (isClientGone(exchange)) stream.destroy(); // Its end has been told already.
  }

  handlerReturned(): void {
    this.isHandlerDone = true;
    if (this.isBegun) return;
    if (this.stream.errored !== null) this.report(this.stream.errored);
    else if (this.isReady()) this.begin();
    else this.#leave();
  }

  handlerThrew(error: unknown): void {
    this.isHandlerDone = true;
    this.report(error);
  }

  protected override isReady(): boolean {
    const { res } = this.exchange;
    if (res.writableEnded || isClientGone(this.exchange)) return false;
    // The response of a pipelined request has no socket until its turn comes.
    return res.socket?.writable !== false;
  }

  protected override report(thrown: unknown): void {
    if (this.isOver(thrown)) {
      this.abandon();
      return;
    }
    const error = thrown instanceof Error ? thrown : new Error(`${String(thrown)} was thrown.`);
    const { res } = this.exchange;
    if (!res.headersSent) this.#leave();
    else if (!res.writableEnded) this.fail(error);
    this.#tell(error);
  }

  /** The request is answered with something else. */
  #leave(): void {
    this.abandon();
    takeBackHeaders(this.exchange.res);
  }
}

/** An error that says how a request is answered, as those of Koa's `ctx.throw` and of `http-errors` do. */
type HttpError = Error & {
  readonly status?: unknown;
  readonly statusCode?: unknown;
  /** Whether the client may read its message. */
  readonly expose?: unknown;
};

function notAcceptable(): HttpError {
  const status = 406;
  return Object.assign(new Error(NOT_ACCEPTABLE), { status, statusCode: status, expose: true });
}

function setGiven({ req, res }: Exchange, headers: ResponseHeaders): void {
  for (const [name, value] of Object.entries(headers)) {
    // HTTP/2 has no such header: Node warns about it.
    if (value === undefined || (req.httpVersionMajor === 2 && /^connection$/i.test(name))) continue;
    res.setHeader(name, value);
  }
}

/** What else was set on the response stays: a page of another origin can read the error only with its CORS headers. */
function answer({ req, res }: Exchange, error: HttpError): void {
  const given = Number(error.status ?? error.statusCode);
  const status = given >= 400 && STATUS_CODES[given] !== undefined ? given : 500;
  res.statusCode = status;
  for (const name of ['Content-Encoding', 'Transfer-Encoding']) res.removeHeader(name);
  const text = error.expose === true ? error.message : (STATUS_CODES[status] as string);
  res.setHeader('Content-Type', 'text/plain; charset=utf-8');
  res.setHeader('Content-Length', Buffer.byteLength(text));
  res.end(req.method === 'HEAD' ? undefined : text);
}

function print(error: Error): void {
  console.error(error);
}
