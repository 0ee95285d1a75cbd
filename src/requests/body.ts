import { isUtf8 } from 'node:buffer';
import type { Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { Context, Middleware } from 'koa';
import type { BodyBudget } from './body-budget.js';
import { readInTurns } from './read-turns.js';

/** What the reader leaves for the middleware below it. */
export interface BodyState {
  /** The body as text; empty if there is none. */
  body: string;
}

export interface BodyLimits {
  /** The largest body, after decompression. */
  readonly maxBytes: number;
  /** What a body shares with others. */
  readonly budget: (ctx: Context) => BodyBudget;
}

/** Seconds after which a client may try again when all bodies together hold too much. */
const RETRY_SECONDS = 5;

/** What a decompressor holds beside its output: its window, its state and one piece of output. */
const DECODER_BYTES = 64 * 1024;

const DECODERS = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
};
const ENCODINGS = 'gzip, deflate, br';

/**
 * Reads the body into `ctx.state.body`, as text, and counts it against the budget until the middleware below
 * has answered. Refuses a body that is too large (413), that all others leave no room for (503), that is compressed
 * in another way (415), and what cannot be read (400). Its time is the server's to bound.
 */
export function readText(limits: BodyLimits): Middleware<BodyState> {
  return async function readText(ctx, next) {
    const held = new HeldBytes(limits.budget(ctx as Context));
    try {
      ctx.state.body = await read(ctx, limits.maxBytes, held);
      await next();
    } finally {
      held.release();
    }
  };
}

/** What one body holds of the budget. */
class HeldBytes {
  readonly #budget: BodyBudget;
  #bytes = 0;

  constructor(budget: BodyBudget) {
    this.#budget = budget;
  }

  hold(bytes: number): void {
    if (!this.#budget.hold(bytes)) throw new BudgetError(this.#budget.maxBytes);
    this.#bytes += bytes;
  }

  release(): void {
    this.#budget.release(this.#bytes);
    this.#bytes = 0;
  }
}

class BudgetError extends Error {
  constructor(maxBytes: number) {
    super(
      `All bodies under way hold the ${maxBytes} bytes allowed (MAX_BODIES_BYTES): try again later.`,
    );
  }
}

class TooLargeError extends Error {
  constructor(maxBytes: number) {
    super(`The body is larger than the ${maxBytes} bytes allowed.`);
  }
}

async function read(ctx: Context, maxBytes: number, held: HeldBytes): Promise<string> {
  const decoderOf = decoderFor(ctx);
  try {
    // A body that is compressed may become larger, but hardly ever smaller.
    if ((ctx.request.length ?? 0) > maxBytes) throw new TooLargeError(maxBytes);
    continueIfExpected(ctx);
    const length = decoderOf === undefined ? ctx.request.length : undefined;
    const bytes = await collect(ctx, decoderOf, new ByteCollector(maxBytes, held, length));
    if (isUtf8(bytes)) return bytes.toString();
  } catch (error) {
    refuse(ctx, error as Error);
  }
  ctx.throw(400, 'The body is not valid UTF-8.');
}

function refuse(ctx: Context, error: Error): never {
  if (error instanceof TooLargeError) ctx.throw(413, error.message);
  if (error instanceof BudgetError) {
    ctx.throw(503, error.message, {
      expose: true,
      headers: { 'Retry-After': String(RETRY_SECONDS) },
    });
  }
  ctx.throw(400, `The body cannot be read: ${error.message}.`);
}

/** What undoes the `Content-Encoding`; undefined if there is nothing to undo. */
function decoderFor(ctx: Context): (() => ReturnType<typeof createGunzip>) | undefined {
  const encoding = ctx.get('Content-Encoding').trim().toLowerCase();
  if (encoding === '' || encoding === 'identity') return undefined;
  if (Object.hasOwn(DECODERS, encoding)) return DECODERS[encoding as keyof typeof DECODERS];
  // RFC 9110, section 15.5.16: "the response ought to include […] Accept-Encoding".
  ctx.throw(415, `A body is sent as it is, or with one Content-Encoding of ${ENCODINGS}.`, {
    headers: { 'Accept-Encoding': ENCODINGS },
  });
}

/** A client that expects 100 sends its body only now that nothing speaks against it. */
function continueIfExpected({ req, res }: Context): void {
  if (req.headers.expect !== undefined && req.httpVersion === '1.1') res.writeContinue();
}

/** Reads the body to its end, or to what is wrong with it. Whatever is left then is the connection's to drop. */
function collect(
  { req, res }: Context,
  createDecoder: (() => ReturnType<typeof createGunzip>) | undefined,
  collector: ByteCollector,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const decoder = createDecoder?.();
    const source: Readable = decoder ?? req;

    const settle = (act: () => void) => {
      source.off('data', onData).off('end', onEnd);
      req.off('close', onClose);
      if (decoder !== undefined) {
        req.unpipe(decoder);
        decoder.off('error', fail).on('error', ignore).destroy();
      }
      act();
    };
    const fail = (error: Error) => settle(() => reject(error));
    const onData = (piece: Buffer) => {
      try {
        collector.add(piece);
      } catch (error) {
        fail(error as Error);
      }
    };
    const onEnd = () => {
      // What was answered 408 must not be published after all.
      if (res.socket?.writableEnded) onClose();
      else settle(() => resolve(collector.take()));
    };
    const onClose = () => {
      if (!req.complete || res.socket?.writableEnded) fail(new ClientGoneError());
    };

    try {
      if (decoder !== undefined) collector.hold(DECODER_BYTES);
    } catch (error) {
      fail(error as Error);
      return;
    }
    req.on('close', onClose);
    req.on('error', ignore); // Its 'close' follows.
    decoder?.on('error', fail);
    source.on('data', onData).on('end', onEnd);
    readInTurns(req);
    if (decoder !== undefined) req.pipe(decoder);
    if (req.destroyed) onClose();
  });
}

/** The client has gone before the end of its body: nobody is there to be told. */
class ClientGoneError extends Error {
  readonly code = 'ECONNRESET';
  override readonly message = 'its connection was closed';
}

const FIRST_CAPACITY = 4 * 1024;
const NO_BYTES = Buffer.alloc(0);

/**
 * Bytes in one buffer that grows with them: many small pieces, each in a buffer of its own, would hold a hundred
 * times what they carry.
 */
class ByteCollector {
  readonly #maxBytes: number;
  readonly #held: HeldBytes;
  /** How many there will be, if that is known. */
  readonly #expected: number | undefined;
  #bytes: Buffer = NO_BYTES;
  #length = 0;

  constructor(maxBytes: number, held: HeldBytes, expected: number | undefined) {
    this.#maxBytes = maxBytes;
    this.#held = held;
    this.#expected = expected;
  }

  /** @throws {TooLargeError} {@link BudgetError} */
  add(piece: Buffer): void {
    const length = this.#length + piece.length;
    if (length > this.#maxBytes) throw new TooLargeError(this.#maxBytes);
    if (piece.length === this.#expected) {
      this.hold(length);
      this.#bytes = piece; // All of it, as most small bodies come: nothing to copy, and no time to wait with it.
      this.#length = length;
      return;
    }
    if (length > this.#bytes.length) this.#grow(length);
    piece.copy(this.#bytes, this.#length);
    this.#length = length;
  }

  hold(bytes: number): void {
    this.#held.hold(bytes);
  }

  take(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(length: number): void {
    const doubled = Math.max(length, FIRST_CAPACITY, 2 * this.#bytes.length);
    const capacity = Math.min(doubled, this.#maxBytes);
    this.hold(capacity - this.#bytes.length);
    const larger = Buffer.allocUnsafeSlow(capacity);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

function ignore(): void {}
