import type { EventStream } from './event-stream.js';
import { encodeComment, encodeFrame, type SseEvent } from './frame.js';

/** What the owner of an audience is told. Whatever a callback throws is an uncaught exception. */
export interface AudienceOptions {
  /** A member has missed its first frames. It is left out until it drains, or taken out here. */
  readonly onStall?: (stream: EventStream) => void;
  /** A member that missed frames reads again and gets what is sent from now on. */
  readonly onResume?: (stream: EventStream) => void;
  /** Everything sent so far has been written to all members, but for those that stalled. */
  readonly onFlush?: () => void;
  /** The last member has left. */
  readonly onEmpty?: () => void;
}

/**
 * A set of event streams that receive the same bytes.
 *
 * An event is encoded once, whatever the number of members. All that is sent within one turn of the
 * event loop leaves in one write per stream: a thousand clients cost a thousand system calls per turn,
 * not per event.
 *
 * A member that does not read is skipped, never buffered for: what is queued for it is bounded by its
 * high-water mark plus the one write, all of one turn, that went over it. A stream leaves by itself when it
 * closes.
 */
export class Audience {
  readonly #members = new Set<EventStream>();
  /** Members that joined in this turn, and how many of the pending frames were sent before and are not for them. */
  readonly #joined = new Map<EventStream, number>();
  readonly #stalled = new Set<EventStream>();
  /** Members that missed the frames of the flush under way, until their owner is told. */
  readonly #missed = new Set<EventStream>();
  readonly #options: AudienceOptions;
  /** The frames of this turn. Held once for all members, and no longer than the turn. */
  #pending: Buffer[] = [];
  /** One listener for all members: two closures for each are memory that ten thousand idle clients feel. */
  readonly #onClose: (this: EventStream) => void;
  readonly #onDrain: (this: EventStream) => void;

  constructor(options: AudienceOptions = {}) {
    this.#options = options;
    const audience = this;
    this.#onClose = function leave() {
      audience.delete(this);
    };
    this.#onDrain = function resume() {
      audience.#stalled.delete(this);
      options.onResume?.(this);
    };
  }

  get size(): number {
    return this.#members.size;
  }

  [Symbol.iterator](): IterableIterator<EventStream> {
    return this.#members.keys();
  }

  /** Adds a stream. It receives what is sent from now on. A closed one is not added. */
  add(stream: EventStream): this {
    if (!stream.writable || this.#members.has(stream)) return this;
    this.#members.add(stream);
    if (this.#pending.length > 0) this.#joined.set(stream, this.#pending.length);
    stream.on('close', this.#onClose);
    return this;
  }

  /** Takes a stream out, together with what was sent to it in this turn. The stream stays open. */
  delete(stream: EventStream): boolean {
    if (!this.#members.delete(stream)) return false;
    this.#joined.delete(stream);
    this.#missed.delete(stream);
    stream.off('close', this.#onClose);
    if (this.#stalled.delete(stream)) stream.off('drain', this.#onDrain);
    if (this.#members.size === 0) this.#options.onEmpty?.();
    return true;
  }

  /** @throws {FrameError} see {@link encodeFrame}; then nobody receives anything. */
  send(event: SseEvent): void {
    this.#queue(encodeFrame(event));
  }

  comment(text?: string): void {
    this.#queue(encodeComment(text));
  }

  /** Sends whole frames that are encoded already. Nobody writes to the buffer any more. */
  sendBytes(frames: string | Buffer): void {
    this.#queue(frames);
  }

  /** Ends every member's stream, after all that was sent to it in this turn, by other audiences too. */
  end(): void {
    setImmediate(() => {
      for (const stream of this.#members.keys()) stream.end();
    });
  }

  #queue(frames: string | Buffer): void {
    // Now, where the caller is to be seen, and not when they are written.
    const bytes = typeof frames === 'string' ? Buffer.from(frames) : frames;
    if (!Buffer.isBuffer(bytes)) throw new TypeError('Frames are a string or a Buffer.');
    if (this.#members.size === 0) return;
    // setImmediate runs after the I/O callbacks of this turn: every request that has arrived by now
    // has its say before the one write. process.nextTick would write once per request.
    if (this.#pending.length === 0) setImmediate(() => this.#flush());
    this.#pending.push(bytes);
  }

  #flush(): void {
    const pending = this.#pending;
    this.#pending = [];
    const whole = concat(pending);
    for (const stream of this.#members) {
      const joinedAt = this.#joined.size === 0 ? 0 : (this.#joined.get(stream) ?? 0);
      if (joinedAt === pending.length) continue;
      if (stream.stalled) this.#missed.add(stream);
      else stream.sendBytes(joinedAt === 0 ? whole : concat(pending.slice(joinedAt)));
    }
    this.#joined.clear();
    // Their owner may do anything to the audience, so it is told when everybody else has been served.
    for (const stream of this.#missed) {
      this.#missed.delete(stream);
      this.#stall(stream);
    }
    this.#options.onFlush?.();
  }

  #stall(stream: EventStream): void {
    if (this.#stalled.has(stream)) return;
    this.#stalled.add(stream);
    stream.once('drain', this.#onDrain);
    this.#options.onStall?.(stream);
  }
}

function concat(frames: Buffer[]): Buffer {
  return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
}
