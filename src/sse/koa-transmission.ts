import type { ParameterizedContext } from 'koa';
import type { EventStream } from './event-stream.js';
import { takeBackHeaders } from './head.js';
import type { OpenStreams } from './open-streams.js';
import { Transmission } from './transmission.js';

/**
 * The transmission of a stream that is `ctx.body`, by Koa's rules: the head leaves when Koa asks `ctx.respond`, which it
 * does when all middleware has returned and before it would look at the body.
 */
export class KoaTransmission extends Transmission {
  declare protected readonly exchange: TransmittedContext;
  #hasThrown = false;

  constructor(stream: EventStream, ctx: TransmittedContext, open: OpenStreams) {
    super(stream, ctx, open);
    ctx.onerror = reportError;
    ctx[TRANSMISSION] = this;
    Object.defineProperty(ctx, 'respond', RESPOND);
  }

  /** The handlers below `sse()` have returned: the head leaves when the middleware above has, too. */
  handlersReturned(): void {
    this.isHandlerDone = true;
    if (!this.isBegun && this.#isReplaced) this.#leave();
  }

  /** A handler below has thrown: with no head sent the error is answered, else the connection breaks. */
  handlersThrew(error: unknown): void {
    this.isHandlerDone = true;
    this.#hasThrown = true;
    if (!this.isBegun) this.#leave();
    else if (!this.isOver(error)) this.fail(error);
  }

  /** Koa asks, when all middleware has returned, whether it is to send the body. Otherwise it is sent here. */
  isLeftToKoa(): boolean {
    if (this.isBegun) return false;
    const { exchange: ctx, stream } = this;
    if (ctx.body !== stream) {
      // A body that is made of the stream, such as its bytes compressed, is sent by Koa like any other.
      if (this.#isReplaced) this.#leave();
      else this.markBegun();
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
    if (stream.errored === null) this.begin();
    else ctx.onerror(stream.errored);
    return false;
  }

  protected override isReady(): boolean {
    return this.exchange.writable && this.exchange.body === this.stream;
  }

  protected override report(error: Error): void {
    this.exchange.onerror(error);
  }

  /** Whether the answer has another body, and nobody reads the stream to make one of it. */
  get #isReplaced(): boolean {
    return this.exchange.body !== this.stream && !this.stream.readableFlowing;
  }

  #leave(): void {
    const { exchange: ctx, stream } = this;
    stream.destroy();
    // A stream of another `sse()` below has its own use for them.
    if (ctx[TRANSMISSION] !== this) return;
    takeBackHeaders(ctx.res);
    const { body } = ctx;
    // Koa gives a body the type that it would have had. The stream itself will not be sent.
    if (body != null && body !== stream) ctx.body = body;
  }

  /** Middleware above has caught the error, and answers without a body: as if `sse()` had not set one. */
  #answerWithoutBody(): void {
    const { exchange: ctx } = this;
    const status = ctx.status === 200 ? 404 : ctx.status;
    ctx.body = undefined;
    ctx.status = status;
  }
}

/** The same in all copies of this file: a `sse()` of another one may stand above or below. */
const TRANSMISSION = Symbol.for('koa-event-stream.transmission');

type TransmittedContext = ParameterizedContext & { [TRANSMISSION]?: KoaTransmission };

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
