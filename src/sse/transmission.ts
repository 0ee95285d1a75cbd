import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream';
import type { ParameterizedContext } from 'koa';
import type { Backlog } from './backlog.js';
import { breakConnection } from './break-connection.js';
import { isClientAbort } from './client-abort.js';
import type { Carrier, EndReason, EventStream } from './event-stream.js';
import { takeBackHeaders } from './head.js';

/** A client whose socket has more than this queued is not written to. */
const MAX_QUEUED_BYTES = 16 * 1024;

/** What all transmissions of a middleware share. */
export interface TransmissionOwner {
  readonly backlog: Backlog;
  /** A stream is open: its head leaves. */
  register(stream: EventStream): void;
}

/**
 * The way of a stream, which is the body of a response, to its client: when the head leaves, how frames follow it, and
 * what becomes of both when a handler throws.
 *
 * The head leaves when Koa asks `ctx.respond`, which it does when all middleware has returned and before it would look
 * at the body; or, while a handler still runs, at the end of the turn of the event loop in which the stream was first
 * written to.
 */
export class Transmission implements Carrier {
  readonly #stream: EventStream;
  readonly #ctx: TransmittedContext;
  readonly #owner: TransmissionOwner;
  #destination: Socket | ServerResponse | undefined;
  #isHandlerDone = false;
  #isBegun = false;
  #hasThrown = false;
  #failure: unknown;

  constructor(stream: EventStream, ctx: TransmittedContext, owner: TransmissionOwner) {
    this.#stream = stream;
    this.#ctx = ctx;
    this.#owner = owner;
    stream.carrier = this;
    ctx.onerror = reportError;
    ctx[TRANSMISSION] = this;
    Object.defineProperty(ctx, 'respond', RESPOND);
    closeWithConnection(stream, ctx);
  }

  /** The handlers below `sse()` have returned: the head leaves when the middleware above has, too. */
  handlersReturned(): void {
    this.#isHandlerDone = true;
    if (!this.#isBegun && this.#isReplaced) this.#leave();
  }

  /** A handler below has thrown: with no head sent the error is answered, else the connection breaks. */
  handlersThrew(error: unknown): void {
    this.#isHandlerDone = true;
    this.#hasThrown = true;
    if (!this.#isBegun) this.#leave();
    else if (!this.isOver(error)) this.fail(error);
  }

  /** Koa asks, when all middleware has returned, whether it is to send the body. Otherwise it is sent here. */
  isLeftToKoa(): boolean {
    if (this.#isBegun) return false;
    const ctx = this.#ctx;
    const stream = this.#stream;
    if (ctx.body !== stream) {
      // A body that is made of the stream, such as its bytes compressed, is sent by Koa like any other.
      if (this.#isReplaced) this.#leave();
      else this.#open();
      return true;
    }
    if (this.#hasThrown) {
      this.#answerWithoutBody();
      return true;
    }
    if (!ctx.writable) {
      stream.destroy();
      return true;
    }
    if (stream.errored === null) this.#begin();
    else ctx.onerror(stream.errored);
    return false;
  }

  onFirstWrite(): void {
    if (!this.#isHandlerDone) setImmediate(endTurn, this);
  }

  /** The turn of the stream's first write is over. */
  endTurn(): void {
    if (this.#isHandlerDone || this.#isBegun || this.#stream.destroyed) return;
    if (this.#ctx.writable && this.#ctx.body === this.#stream) this.#begin();
  }

  reasonToClose(): EndReason {
    const { req, res } = this.#ctx;
    if (req.socket.destroyed || res.destroyed) return 'left';
    return this.#isBegun ? 'cut' : 'unused';
  }

  /** Writes frames of the stream to its client. */
  forward(frames: Buffer): void {
    const destination = this.#destination as Socket | ServerResponse;
    // A write that the system has taken whole leaves nothing queued, whatever it returns.
    if (destination.write(frames) || destination.writableLength < MAX_QUEUED_BYTES) return;
    const stream = this.#stream;
    const { backlog } = this.#owner;
    stream.hold();
    backlog.add(stream, frames);
    destination.once('drain', () => {
      backlog.delete(stream);
      stream.release();
    });
  }

  /** The stream has closed, and so does the response. */
  close(): void {
    const { res } = this.#ctx;
    const { errored, readableEnded } = this.#stream;
    this.#owner.backlog.delete(this.#stream);
    if (readableEnded) res.end();
    else if (errored === null)
      res.destroy(); // Or the client would wait on a stream that nobody writes to.
    else this.#ctx.onerror(errored);
  }

  /** Ends the response and the stream for an error that comes too late for an answer. */
  fail(error: unknown): void {
    this.#failure ??= error;
    if (this.#stream.writableEnded) return; // The client has all of it.
    breakConnection(this.#ctx);
    this.#stream.fail(error);
  }

  /**
   * Whether an error says no more than that the stream is over: its client has gone, or what was done for it was
   * aborted. What has ended the response itself says more, though its connection is gone by now.
   */
  isOver(error: unknown): boolean {
    if (this.#failure !== undefined && this.#failure === error) return false;
    const isAborted = (error as Error | undefined)?.name === 'AbortError';
    return (
      isClientAbort(error, this.#ctx) || (isAborted && this.#isBegun && this.#stream.destroyed)
    );
  }

  /** Ends the stream, before the head has left: the request is answered with something else. */
  abandon(): void {
    this.#stream.destroy();
  }

  /**
   * Sends the head and then the stream.
   *
   * Koa would do the same with `stream.pipeline`, which keeps 6 KB more for each client. And as the body has no chunks,
   * it goes straight to the socket, past the response, which would add a twentieth to what an update costs each client
   * (both measured with `npm run bench`).
   *
   * Only where the response has the connection to itself. On HTTP/2, and for a pipelined request whose turn has not
   * come, the stream is sent as Koa sends it.
   */
  #begin(): void {
    const ctx = this.#ctx;
    const stream = this.#stream;
    const { req, res } = ctx;
    // The body ends with its connection, so it needs no chunks. Each would make Node write four pieces (size, line
    // break, frames, line break) where one does.
    res.useChunkedEncodingByDefault = false;
    this.#open();
    if (stream.destroyed) {
      ctx.flushHeaders();
      res.destroy();
      return;
    }
    if (req.httpVersionMajor !== 1 || res.socket === null) {
      ctx.flushHeaders();
      pipeline(stream, res, (error) => {
        if (error) ctx.onerror(error);
      });
      return;
    }

    const { socket } = req;
    socket.cork(); // The head and the first frames leave together.
    ctx.flushHeaders(); // Without it `open` would fire with the first event, whenever that is.
    this.#destination = res.chunkedEncoding ? res : socket; // Chunks only if somebody has asked for them.
    // Shared by all streams: closures for each are memory that ten thousand idle clients feel.
    stream.on('data', forward);
    stream.on('close', close);
    stream.resume();
    process.nextTick(() => socket.uncork());
  }

  #open(): void {
    this.#isBegun = true;
    this.#owner.register(this.#stream);
  }

  /** Whether the answer has another body, and nobody reads the stream to make one of it. */
  get #isReplaced(): boolean {
    return this.#ctx.body !== this.#stream && !this.#stream.readableFlowing;
  }

  #leave(): void {
    this.#stream.destroy();
    // A stream of another `sse()` below has its own use for them.
    if (this.#ctx[TRANSMISSION] === this) takeBackHeaders(this.#ctx);
  }

  /** Middleware above has caught the error, and answers without a body: as if `sse()` had not set one. */
  #answerWithoutBody(): void {
    const ctx = this.#ctx;
    const status = ctx.status === 200 ? 404 : ctx.status;
    ctx.body = undefined;
    ctx.status = status;
  }
}

const TRANSMISSION = Symbol('transmission');

type TransmittedContext = ParameterizedContext & { [TRANSMISSION]?: Transmission };

/** Koa's one look at `ctx.respond` is the moment at which all middleware has returned. */
const RESPOND: PropertyDescriptor & ThisType<TransmittedContext> = {
  configurable: true,
  get() {
    return this[TRANSMISSION]?.isLeftToKoa();
  },
  // Who sets it answers the request without Koa, and without the stream.
  set(value) {
    this[TRANSMISSION]?.abandon();
    Object.defineProperty(this, 'respond', { value, writable: true });
  },
};

function endTurn(transmission: Transmission): void {
  transmission.endTurn();
}

function forward(this: EventStream, frames: Buffer): void {
  (this.carrier as Transmission).forward(frames);
}

function close(this: EventStream): void {
  (this.carrier as Transmission).close();
}

/**
 * Koa reports every body whose client left before its end as an application error, with a stack trace.
 * For an event stream there is no other end, so that report stops here; all others go on to the app. One
 * that comes too late for an answer breaks the connection.
 */
function reportError(this: TransmittedContext, error: Error): void {
  const transmission = this[TRANSMISSION];
  if (error == null || transmission?.isOver(error)) return;
  const isTooLate = this.headerSent;
  if (!isTooLate) transmission?.abandon();
  this.app.context.onerror.call(this, error);
  if (isTooLate && !this.res.writableEnded) transmission?.fail(error);
}

/**
 * Koa closes the body with its response. A response that still waits for an earlier one on its connection
 * (HTTP/1.1 pipelining) does not know of the connection's end, and neither would its stream.
 */
function closeWithConnection(stream: EventStream, { req, res }: ParameterizedContext): void {
  if (res.socket !== null || req.httpVersionMajor !== 1) return;
  const { socket } = req;
  const close = () => stream.destroy();
  socket.setMaxListeners(0); // One for each request that waits, and gone with it.
  socket.once('close', close);
  stream.once('close', () => socket.off('close', close));
  if (socket.destroyed) close();
}
