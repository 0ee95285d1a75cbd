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

interface Member {
  /** How many of the pending frames were sent before it joined, and so are not for it. */
  joinedAt: number;
  stalled: boolean;
  readonly onDrain: () => void;
  readonly onClose: () => void;
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
  readonly #members = new Map<EventStream, Member>();
  readonly #options: AudienceOptions;
  /** The frames of this turn. Held once for all members, and no longer than the turn. */
  #pending: Buffer[] = [];

  constructor(options: AudienceOptions = {}) {
    this.#options = options;
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
    const member: Member = {
      joinedAt: this.#pending.length,
      stalled: false,
      onDrain: () => this.#resume(stream, member),
      onClose: () => this.delete(stream),
    };
    this.#members.set(stream, member);
    stream.on('close', member.onClose);
    return this;
  }

  /** Takes a stream out, together with what was sent to it in this turn. The stream stays open. */
  delete(stream: EventStream): boolean {
    const member = this.#members.get(stream);
    if (member === undefined) return false;
    stream.off('close', member.onClose);
    stream.off('drain', member.onDrain);
    this.#members.delete(stream);
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
    const stalled: [EventStream, Member][] = [];
    for (const [stream, member] of this.#members) {
      const { joinedAt } = member;
      member.joinedAt = 0;
      if (joinedAt === pending.length) continue;
      if (stream.stalled) stalled.push([stream, member]);
      else stream.sendBytes(joinedAt === 0 ? whole : concat(pending.slice(joinedAt)));
    }
    // Their owner may do anything to the audience, so it is told when everybody else has been served.
    for (const [stream, member] of stalled) {
      if (this.#members.get(stream) === member) this.#stall(stream, member);
    }
    this.#options.onFlush?.();
  }

  #stall(stream: EventStream, member: Member): void {
    if (member.stalled) return;
    member.stalled = true;
    stream.once('drain', member.onDrain);
    this.#options.onStall?.(stream);
  }

  #resume(stream: EventStream, member: Member): void {
    member.stalled = false;
    this.#options.onResume?.(stream);
  }
}

function concat(frames: Buffer[]): Buffer {
  return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
}
