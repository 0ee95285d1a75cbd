import { performance } from 'node:perf_hooks';
import { PassThrough, type TransformCallback, type TransformOptions } from 'node:stream';
import { isConnectionError } from './client-abort.js';
import type { AnyEvents, EventOf } from './event-map.js';
import { encodeComment, encodeFrame, type SseEvent } from './frame.js';
import { type EventStreamSource, sendAll } from './send-all.js';

/** What an event stream is made with. `sse()` does that for its streams. */
export interface EventStreamOptions {
  /** The id of the last event that this client received before it reconnected; empty for none. */
  readonly lastEventId?: string;
  /** Bytes held for a client that does not read before {@link EventStream.stalled} turns true. */
  readonly highWaterMark?: number;
}

/** How an event stream has closed. */
export interface StreamEnd {
  /** Why it has closed. */
  readonly reason: EndReason;
  /** Milliseconds from when the stream was made until it closed. */
  readonly duration: number;
  /** Bytes of frames that were handed to the client's connection. */
  readonly bytes: number;
  /** Events that were sent. */
  readonly events: number;
  /** The error, where the reason is `failed`. */
  readonly error?: Error;
}

/**
 * Why an event stream has closed:
 *
 * - `ended`: the server has ended it, after all that was sent.
 * - `left`: the client has gone.
 * - `failed`: a handler threw after the head had left, or the stream was destroyed with an error.
 * - `cut`: the server has destroyed it, as it does to a client that does not read.
 * - `unused`: the request was answered with something else.
 */
export type EndReason = 'ended' | 'left' | 'failed' | 'cut' | 'unused';

/**
 * What takes a stream to its client.
 *
 * @internal
 */
export interface Carrier {
  /** The stream was written to for the first time. */
  onFirstWrite(): void;
  /** Why a stream closes that was neither ended nor destroyed with an error. */
  reasonToClose(): EndReason;
  /** The stream closes. */
  onEnd(end: StreamEnd): void;
}

/** A `PassThrough` whose `closed` is free for the promise; the methods that are overridden have to be named again. */
interface OpenPassThrough extends Omit<PassThrough, 'closed' | '_transform' | '_destroy'> {
  _transform(chunk: unknown, encoding: BufferEncoding, callback: TransformCallback): void;
  _destroy(error: Error | null, callback: (error?: Error | null) => void): void;
}

const OpenPassThrough = PassThrough as unknown as new (
  options: TransformOptions,
) => OpenPassThrough;

/**
 * One client's response body, a `stream.PassThrough`: assign it to `ctx.body` and write frames to it.
 *
 * However the connection ends (the server's `end()`, the client's abort, an error on the socket), the
 * stream emits `'close'` exactly once. That is the place, and the only one, to let go of a client.
 *
 * `Events` names the events that may be sent, and their payloads: see {@link EventOf}. Without it all may be.
 */
export class EventStream<Events extends object = AnyEvents> extends OpenPassThrough {
  /** The id of the last event that this client received before it reconnected; empty for none. */
  readonly lastEventId: string;
  #isHeld = false;
  #carrier: Carrier | undefined;
  #isWritten = false;
  #openedAt = performance.now();
  #bytes = 0;
  #events = 0;
  #failure: Error | undefined;
  /** Made when it is asked for: it is memory that idle clients would feel. */
  #abort: AbortController | undefined;
  /** Pending while the client does not read, if somebody has sent something meanwhile. */
  #drained: Promise<boolean> | undefined;
  #end: StreamEnd | undefined;

  /** @param options `sse()` gives its own. */
  constructor({ lastEventId = '', highWaterMark = 16 * 1024 }: EventStreamOptions = {}) {
    super({ highWaterMark });
    this.lastEventId = lastEventId;
    // Koa reports a body's error once it sends the body; one that comes before must not end the process.
    this.on('error', ignore);
    // Every audience that a stream is in listens for its 'close'. That is no leak, however many they are.
    this.setMaxListeners(0);
  }

  /**
   * Resolves when the stream has closed, and says how; it never rejects. For Node's own streams `closed` is a boolean:
   * that one is not here, but `destroyed` is.
   */
  get closed(): Promise<StreamEnd> {
    return new Promise((resolve) => {
      const tell = () => resolve(this.#end as StreamEnd);
      if (Reflect.get(PassThrough.prototype, 'closed', this)) tell();
      else this.once('close', tell);
    });
  }

  /**
   * Writes one event, at once: before what an audience is to send at the end of this turn. Resolves when the client can
   * take more, with `true`, or when it has gone, with `false`: whoever sends much awaits it. What a client that does not
   * read is sent without waiting is queued, and beyond 1 MiB a process warning says so once. An ended stream drops it.
   *
   * @throws {FrameError} see {@link encodeFrame}.
   */
  send(event: EventOf<Events>): Promise<boolean> {
    const { data } = event as SseEvent;
    return this.#whenTaken(
      this.sendBytes(encodeFrame(event as SseEvent), data === undefined ? 0 : 1),
    );
  }

  /** Writes a comment, which clients ignore. Returns as {@link send} does. */
  comment(text?: string): Promise<boolean> {
    return this.#whenTaken(this.sendBytes(encodeComment(text), 0));
  }

  /**
   * Sends all that a source yields, in whole frames: several sources may be sent side by side. The source is read no
   * faster than the client reads, and closed when the client leaves. The stream stays open at its end.
   *
   * @returns whether the source has come to its end; `false` if the stream has closed before.
   * @throws what the source throws, or what is wrong with an item; the source is closed then.
   */
  sendAll(source: EventStreamSource<Events>): Promise<boolean> {
    return sendAll(this as EventStream, source as EventStreamSource);
  }

  /** Aborts when the stream has closed: for what is done for this client alone, such as a `fetch`. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      const abort = new AbortController();
      this.#abort = abort;
      if (this.destroyed) abort.abort();
      else this.once('close', () => abort.abort());
    }
    return this.#abort.signal;
  }

  /**
   * Writes whole frames that are encoded already. Returns false when the client has stopped reading or is gone: the
   * frames of a stalled client are still buffered, so a sender of many waits for `'drain'`.
   *
   * @param events how many they are.
   */
  sendBytes(frames: string | Buffer, events = 1): boolean {
    // A client may leave at any time; `write` after that would raise an error nobody can act on.
    if (!this.writable) return false;
    this.#events += events;
    return this.write(frames) && !this.#isHeld;
  }

  /** Whether the client has stopped reading: its buffers are full, and stay so until `'drain'`. */
  get stalled(): boolean {
    // What has flowed on at once is not queued, though Node calls for a 'drain' that comes a moment later.
    return this.#isHeld || (this.writableNeedDrain && this.writableLength > 0);
  }

  /**
   * For whoever sends the stream on: the destination takes no more. The stream is paused, and stalled though nothing
   * is queued in itself, until {@link release}.
   *
   * @internal
   */
  hold(): void {
    this.#isHeld = true;
    this.pause();
  }

  /**
   * The destination takes more: the stream flows on, and emits `'drain'`.
   *
   * @internal
   */
  release(): void {
    this.#isHeld = false;
    this.resume();
    // Otherwise the stream itself will, once what is queued in it has left.
    if (!this.writableNeedDrain) this.emit('drain');
  }

  /**
   * For whoever sends the stream on: what is told of the first write, and asked why the stream closes.
   *
   * @internal
   */
  get carrier(): Carrier | undefined {
    return this.#carrier;
  }

  /** @internal */
  set carrier(carrier: Carrier) {
    this.#carrier = carrier;
  }

  /**
   * For whoever sends the stream on: closes it for an error that somebody else reports.
   *
   * @internal
   */
  fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(`${String(error)} was thrown.`);
    this.destroy();
  }

  /** @internal */
  override _transform(frames: Buffer, _: BufferEncoding, callback: TransformCallback): void {
    this.#bytes += frames.length;
    if (!this.#isWritten) {
      this.#isWritten = true;
      this.#carrier?.onFirstWrite();
    }
    callback(null, frames);
  }

  /**
   * A client that leaves is how most event streams end. It closes this one; it is no error of it.
   *
   * @internal
   */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const ownError = isConnectionError(error) ? null : error;
    const failure = this.#failure ?? ownError;
    this.#end = {
      reason: failure ? 'failed' : error ? 'left' : this.#reasonToClose(),
      duration: performance.now() - this.#openedAt,
      bytes: this.#bytes - this.readableLength,
      events: this.#events,
      ...(failure && { error: failure }),
    };
    this.#carrier?.onEnd(this.#end);
    super._destroy(ownError, callback);
  }

  #reasonToClose(): EndReason {
    if (this.readableEnded) return 'ended';
    return this.#carrier?.reasonToClose() ?? 'cut';
  }

  #whenTaken(isTaken: boolean): Promise<boolean> {
    if (isTaken) return TAKEN;
    if (!this.writable) return GONE;
    if (this.#drained === undefined) {
      this.#drained = new Promise((resolve) => {
        const tell = () => {
          this.off('drain', tell).off('close', tell);
          this.#drained = undefined;
          resolve(!this.destroyed);
        };
        this.on('drain', tell).on('close', tell);
      });
    } else if (this.writableLength > UNAWAITED_BYTES) warnOfQueue();
    return this.#drained;
  }
}

function ignore(): void {}

/** Shared: as a rule nothing has to be waited for. */
const TAKEN = Promise.resolve(true);
const GONE = Promise.resolve(false);

/** What is queued in a stream by those who do not wait, before the process is warned. */
const UNAWAITED_BYTES = 1024 * 1024;

let isWarned = false;

function warnOfQueue(): void {
  if (isWarned) return;
  isWarned = true;
  process.emitWarning(
    'More than 1 MiB is queued in an event stream whose client does not read. Use `await stream.send(…)`, ' +
      '`await stream.sendAll(…)`, or an Audience, which leaves out such clients.',
    { code: 'KOA_SSE_NOT_AWAITED' },
  );
}
