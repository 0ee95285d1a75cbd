import { performance } from 'node:perf_hooks';
import { CHUNK_BYTES, type Chunk, inChunks } from './chunks.js';
import { Drainage, type DrainOptions } from './drainage.js';
import type { AnyEvents, EventOf } from './event-map.js';
import type { EventStream } from './event-stream.js';
import { type Flushable, flushAfterTurn } from './flush-queue.js';
import { encodeComment, encodeFrame, type SseEvent } from './frame.js';
import { assertKnown } from './options.js';

/** What the owner of an audience is told. Whatever a callback throws is an uncaught exception. */
export interface AudienceOptions {
  /**
   * A member has missed frames. It is left out until it drains, or taken out here.
   *
   * @param firstMissed the first that it has missed of the frames of this flush, counted from 0.
   */
  readonly onStall?: (stream: EventStream, firstMissed: number) => void;
  /** A member that missed frames reads again and gets what is sent from now on. */
  readonly onResume?: (stream: EventStream) => void;
  /** So many frames, all that were sent in one turn, have been written to all members, but for those that stalled. */
  readonly onFlush?: (count: number, flushed: Flushed) => void;
  /** The last member has left. */
  readonly onEmpty?: () => void;
}

/** What was written of the frames of one turn. */
export interface Flushed {
  /** The frames, each as often as it was written to a member. */
  readonly deliveries: number;
  /** Bytes of these. */
  readonly bytes: number;
}

/** Whether a member is to receive an event. */
export type AudienceFilter = (stream: EventStream) => boolean;

/** The frames of one turn on their way to the members. */
interface Flush {
  readonly frames: readonly Buffer[];
  readonly chunks: readonly Chunk[];
  readonly membersPerLook: number;
  /** Which members each of the frames is for, if some are not for all. */
  readonly filters: ReadonlyMap<number, AudienceFilter> | undefined;
  /** Members that joined after the first of the frames was sent, and how many of them are not for them. */
  readonly joined: Map<EventStream, number>;
  /** The members that are still to be written to. */
  readonly members: Iterator<EventStream>;
  readonly flushed: { deliveries: number; bytes: number };
}

const OPTIONS: readonly (keyof AudienceOptions)[] = ['onStall', 'onResume', 'onFlush', 'onEmpty'];

/** How many members are written to between two looks at the clock; one, where each is written more than a chunk. */
const MEMBERS_PER_LOOK = 16;

/**
 * A set of event streams that receive the same bytes.
 *
 * An event is encoded once, whatever the number of members. All that is sent within one turn of the
 * event loop leaves in one write per stream (or in few, if it is much): a thousand clients cost a thousand system
 * calls per turn, not per event.
 *
 * A member that does not read is skipped, never buffered for: what is queued for it is bounded by its
 * high-water mark plus the one chunk that went over it. A stream leaves by itself when it closes.
 */
export class Audience<Events extends object = AnyEvents> {
  readonly #members = new Set<EventStream>();
  /** Members that joined in this turn, and how many of the pending frames were sent before and are not for them. */
  #joined = new Map<EventStream, number>();
  readonly #stalled = new Set<EventStream>();
  /** Members that missed frames of the flush under way, and the first of these, until their owner is told. */
  readonly #missed = new Map<EventStream, number>();
  readonly #options: AudienceOptions;
  /** The frames of this turn. Held once for all members, and no longer than until they are written. */
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  /** By the index of the pending frame. */
  #filters: Map<number, AudienceFilter> | undefined;
  #flushing: Flush | undefined;
  #drainage: Drainage | undefined;
  readonly #flushable: Flushable;
  /** One listener for all members: two closures for each are memory that ten thousand idle clients feel. */
  readonly #onClose: (this: EventStream) => void;
  readonly #onDrain: (this: EventStream) => void;

  /** @throws {TypeError} for an option that there is not. */
  constructor(options: AudienceOptions = {}) {
    assertKnown('Audience', options, OPTIONS);
    this.#options = options;
    const audience = this;
    this.#flushable = {
      get isLarge() {
        return audience.#pendingBytes > CHUNK_BYTES;
      },
      flush: (deadline) => audience.#flush(deadline),
    };
    this.#onClose = function leave() {
      audience.delete(this);
    };
    this.#onDrain = function resume() {
      audience.#resume(this);
    };
  }

  /** How many members it has. */
  get size(): number {
    return this.#members.size;
  }

  /** Its members, in the order in which they were added. */
  [Symbol.iterator](): IterableIterator<EventStream> {
    return this.#members.keys();
  }

  /** Adds a stream. It receives what is sent from now on. A closed one is not added. */
  add(member: EventStream<Events>): this {
    const stream = member as EventStream;
    if (!stream.writable || this.#members.has(stream)) return this;
    this.#members.add(stream);
    if (this.#pending.length > 0) this.#joined.set(stream, this.#pending.length);
    this.#flushing?.joined.set(stream, this.#flushing.frames.length);
    stream.on('close', this.#onClose);
    this.#drainage?.joined(stream);
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

  /**
   * Sends an event to all members, or to those that a filter says. It is asked at the end of the turn, once for each
   * member; what it throws is an uncaught exception, and the member does not receive the event.
   *
   * @throws {FrameError} see {@link encodeFrame}; then nobody receives anything.
   */
  send(event: EventOf<Events>, filter?: AudienceFilter): void {
    this.#queue(encodeFrame(event as SseEvent), filter);
  }

  /** Sends a comment, which clients ignore, to all members. */
  comment(text?: string): void {
    this.#queue(encodeComment(text));
  }

  /** Sends whole frames that are encoded already, as {@link send} does. Nobody writes to the buffer any more. */
  sendBytes(frames: string | Buffer, filter?: AudienceFilter): void {
    this.#queue(frames, filter);
  }

  /** Ends every member's stream, after all that was sent to it in this turn, by other audiences too. */
  end(): void {
    flushAfterTurn({
      isLarge: true, // After all others.
      flush: () => {
        for (const stream of this.#members.keys()) stream.end();
        return true;
      },
    });
  }

  /**
   * Ends every member's stream, as {@link end} does, but spread over some time, and each with a `retry` of its own: or
   * the clients of a process that stops would all come back in the same moment. What is sent meanwhile reaches those that
   * are still there. Once all have ended, a stream that is added ends at the end of its turn: for good, so that a process
   * can stop. A second call returns the promise of the first.
   *
   * @returns when the last stream has been ended.
   * @throws {TypeError} for an option that there is not.
   * @throws {RangeError} if a time is no whole number of milliseconds, or the least is more than the most.
   */
  drain(options: DrainOptions = {}): Promise<void> {
    this.#drainage ??= new Drainage(this.#members, options);
    return this.#drainage.finished;
  }

  #queue(frames: string | Buffer, filter?: AudienceFilter): void {
    // Now, where the caller is to be seen, and not when they are written.
    const bytes = typeof frames === 'string' ? Buffer.from(frames) : frames;
    if (!Buffer.isBuffer(bytes)) throw new TypeError('Frames are a string or a Buffer.');
    if (filter !== undefined && typeof filter !== 'function') {
      throw new TypeError(`A filter is a function, not ${typeof filter}.`);
    }
    if (this.#members.size === 0) return;
    if (this.#pending.length === 0) {
      flushAfterTurn(this.#flushable);
    }
    if (filter !== undefined) {
      this.#filters ??= new Map();
      this.#filters.set(this.#pending.length, filter);
    }
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
  }

  #flush(deadline: number): boolean {
    const flush = this.#flushing ?? this.#begin();
    let untilLook = flush.membersPerLook;
    for (let next = flush.members.next(); !next.done; next = flush.members.next()) {
      this.#write(flush, next.value);
      untilLook -= 1;
      if (untilLook > 0) continue;
      if (performance.now() >= deadline) return false;
      untilLook = flush.membersPerLook;
    }
    this.#flushing = undefined;
    // Their owner may do anything to the audience, so it is told when everybody else has been served.
    for (const [stream, firstMissed] of this.#missed) {
      this.#missed.delete(stream);
      this.#stall(stream, firstMissed);
    }
    this.#options.onFlush?.(flush.frames.length, flush.flushed);
    return true;
  }

  #begin(): Flush {
    const frames = this.#pending;
    const filters = this.#filters;
    const joined = this.#joined;
    const membersPerLook = this.#pendingBytes > CHUNK_BYTES ? 1 : MEMBERS_PER_LOOK;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#filters = undefined;
    this.#joined = new Map();
    const members = this.#members.values();
    this.#flushing = {
      frames,
      filters,
      joined,
      members,
      membersPerLook,
      chunks: filters ? [] : inChunks(frames),
      flushed: { deliveries: 0, bytes: 0 },
    };
    return this.#flushing;
  }

  #write(flush: Flush, stream: EventStream): void {
    const { frames, filters, chunks, joined, flushed } = flush;
    const joinedAt = joined.size === 0 ? 0 : (joined.get(stream) ?? 0);
    if (joinedAt === frames.length) return;
    if (filters !== undefined) {
      this.#writeFiltered(flush, filters, joinedAt, stream);
      return;
    }
    const own = joinedAt === 0 ? chunks : inChunks(frames.slice(joinedAt));
    for (const { bytes, first, events } of own) {
      if (stream.stalled) {
        this.#missed.set(stream, joinedAt + first);
        flushed.deliveries += first;
        return;
      }
      stream.sendBytes(bytes, events);
      flushed.bytes += bytes.length;
    }
    flushed.deliveries += frames.length - joinedAt;
  }

  /** What is for one member need not be for the next: frames are put together for each. */
  #writeFiltered(
    { frames, flushed }: Flush,
    filters: ReadonlyMap<number, AudienceFilter>,
    joinedAt: number,
    stream: EventStream,
  ): void {
    const wanted: number[] = [];
    for (let index = joinedAt; index < frames.length; index++) {
      const filter = filters.get(index);
      if (filter === undefined || admits(filter, stream)) wanted.push(index);
    }
    for (const { bytes, first, events } of inChunks(
      wanted.map((index) => frames[index] as Buffer),
    )) {
      if (stream.stalled) {
        this.#missed.set(stream, wanted[first] as number);
        flushed.deliveries += first;
        return;
      }
      stream.sendBytes(bytes, events);
      flushed.bytes += bytes.length;
    }
    flushed.deliveries += wanted.length;
  }

  #stall(stream: EventStream, firstMissed: number): void {
    if (this.#stalled.has(stream)) return;
    this.#stalled.add(stream);
    stream.once('drain', this.#onDrain);
    this.#options.onStall?.(stream, firstMissed);
    // It may have drained since it was found to be stalled.
    if (this.#stalled.has(stream) && !stream.stalled) this.#resume(stream);
  }

  #resume(stream: EventStream): void {
    stream.off('drain', this.#onDrain);
    this.#stalled.delete(stream);
    this.#options.onResume?.(stream);
  }
}

/** What a filter throws is to keep nobody else from being written to. */
function admits(filter: AudienceFilter, stream: EventStream): boolean {
  try {
    return filter(stream);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
    return false;
  }
}
