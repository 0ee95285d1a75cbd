import { PassThrough } from 'node:stream';
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

  constructor({ lastEventId = '', highWaterMark = 16 * 1024 }: EventStreamOptions = {}) {
    super({ highWaterMark });
    this.lastEventId = lastEventId;
  }

  /**
   * Writes one event. Returns false when the client has stopped reading or is gone: the frame of a
   * stalled client is still buffered, so a sender of many waits for `'drain'`; an ended stream drops it.
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
    return this.writable && this.write(frames);
  }

  /** Whether the client has stopped reading: its buffers are full, and stay so until `'drain'`. */
  get stalled(): boolean {
    return this.writableNeedDrain;
  }

  /** A client that leaves is how most event streams end. It closes this one; it is no error of it. */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    super._destroy(isClientAbort(error) ? null : error, callback);
  }
}

/**
 * Whether an error says no more than that the client has gone: it closed or reset its connection, or sent
 * bytes that are not HTTP (Node's `HPE_…` codes), after which nobody is there to talk to.
 */
export function isClientAbort(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return (
    code === 'ERR_STREAM_PREMATURE_CLOSE' ||
    code === 'ECONNRESET' ||
    code === 'EPIPE' ||
    code?.startsWith('HPE_') === true
  );
}
