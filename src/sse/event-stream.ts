import { PassThrough } from 'node:stream';
import { isConnectionError } from './client-abort.js';
import { encodeComment, encodeFrame, type SseEvent } from './frame.js';

export interface EventStreamOptions {
  /** The id of the last event that this client received before it reconnected; empty for none. */
  readonly lastEventId?: string;
  /** Bytes held for a client that does not read before {@link EventStream.stalled} turns true. */
  readonly highWaterMark?: number;
}

/**
 * One client's response body: assign it to `ctx.body` and write frames to it.
 *
 * However the connection ends (the server's `end()`, the client's abort, an error on the socket), the
 * stream emits `'close'` exactly once. That is the place, and the only one, to let go of a client.
 */
export class EventStream extends PassThrough {
  readonly lastEventId: string;
  #isHeld = false;

  constructor({ lastEventId = '', highWaterMark = 16 * 1024 }: EventStreamOptions = {}) {
    super({ highWaterMark });
    this.lastEventId = lastEventId;
    // Koa reports a body's error once it sends the body; one that comes before must not end the process.
    this.on('error', ignore);
    // Every audience that a stream is in listens for its 'close'. That is no leak, however many they are.
    this.setMaxListeners(0);
  }

  /**
   * Writes one event, at once: before what an audience is to send at the end of this turn. Returns false
   * when the client has stopped reading or is gone: the frame of a stalled client is still buffered, so a
   * sender of many waits for `'drain'`; an ended stream drops it.
   *
   * @throws {FrameError} see {@link encodeFrame}.
   */
  send(event: SseEvent): boolean {
    return this.sendBytes(encodeFrame(event));
  }

  /** Writes a comment, which clients ignore. Returns as {@link send} does. */
  comment(text?: string): boolean {
    return this.sendBytes(encodeComment(text));
  }

  /** Writes whole frames that are encoded already. Returns as {@link send} does. */
  sendBytes(frames: string | Buffer): boolean {
    // A client may leave at any time; `write` after that would raise an error nobody can act on.
    return this.writable && this.write(frames) && !this.#isHeld;
  }

  /** Whether the client has stopped reading: its buffers are full, and stay so until `'drain'`. */
  get stalled(): boolean {
    // What has flowed on at once is not queued, though Node calls for a 'drain' that comes a moment later.
    return this.#isHeld || (this.writableNeedDrain && this.writableLength > 0);
  }

  /**
   * For whoever sends the stream on: the destination takes no more. The stream is paused, and stalled though nothing
   * is queued in itself, until {@link release}.
   */
  hold(): void {
    this.#isHeld = true;
    this.pause();
  }

  /** The destination takes more: the stream flows on, and emits `'drain'`. */
  release(): void {
    this.#isHeld = false;
    this.resume();
    // Otherwise the stream itself will, once what is queued in it has left.
    if (!this.writableNeedDrain) this.emit('drain');
  }

  /** A client that leaves is how most event streams end. It closes this one; it is no error of it. */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    super._destroy(isConnectionError(error) ? null : error, callback);
  }
}

function ignore(): void {}
