import { performance } from 'node:perf_hooks';
import type { EventStream } from './event-stream.js';

/** @internal */
export interface BacklogOptions {
  /**
   * Bytes that may be queued for clients that do not read, all together; beyond it those that have not read for the
   * longest time are cut off. 0 sets no limit.
   */
  readonly maxBytes: number;
  /** Milliseconds after which a client that has read nothing is cut off. 0 waits for ever. */
  readonly maxAgeMs: number;
  /** Told of each client that is cut off, before it is. */
  readonly onCut?: ((stream: EventStream, reason: CutReason) => void) | undefined;
}

/** Why a client that does not read was cut off. */
export type CutReason = 'too much queued' | 'too long';

/** What a client's socket holds beside the bytes that went over its mark. */
const BYTES_PER_CLIENT = 16 * 1024;

interface Held {
  readonly buffer: ArrayBufferLike;
  readonly since: number;
}

/**
 * What is queued for the clients that do not read. Each of them has a bounded queue; this bounds all of them
 * together. Bytes that several clients share count once, as they are held once.
 */
export class Backlog {
  readonly #options: BacklogOptions;
  /** In the order in which they stopped reading. */
  readonly #held = new Map<EventStream, Held>();
  /** How many clients hold the memory of a Buffer: one frame is one Buffer for all. */
  readonly #shares = new Map<ArrayBufferLike, number>();
  #bytes = 0;
  readonly #cut: Record<CutReason, number> = { 'too much queued': 0, 'too long': 0 };
  #ageCheck: NodeJS.Timeout | undefined;

  /** @internal */
  constructor(options: BacklogOptions) {
    this.#options = options;
  }

  /** How many clients do not read. */
  get size(): number {
    return this.#held.size;
  }

  /** How many bytes are queued for them. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many clients have been cut off, by the reason. */
  get cut(): Readonly<Record<CutReason, number>> {
    return this.#cut;
  }

  /**
   * Adds a client that does not read, with the bytes that went over its mark.
   *
   * @internal
   */
  add(stream: EventStream, bytes: Buffer): void {
    const { buffer } = bytes;
    const shares = this.#shares.get(buffer) ?? 0;
    this.#shares.set(buffer, shares + 1);
    this.#bytes += BYTES_PER_CLIENT + (shares === 0 ? buffer.byteLength : 0);
    this.#held.set(stream, { buffer, since: performance.now() });
    this.#startAgeCheck();
    const { maxBytes } = this.#options;
    while (maxBytes > 0 && this.#bytes > maxBytes) this.#cutOldest('too much queued');
  }

  /**
   * Takes a client out that reads again, or has gone.
   *
   * @internal
   */
  delete(stream: EventStream): void {
    const held = this.#held.get(stream);
    if (held === undefined) return;
    this.#held.delete(stream);
    const { buffer } = held;
    const shares = (this.#shares.get(buffer) ?? 1) - 1;
    if (shares > 0) this.#shares.set(buffer, shares);
    else this.#shares.delete(buffer);
    this.#bytes -= BYTES_PER_CLIENT + (shares === 0 ? buffer.byteLength : 0);
    if (this.#held.size > 0) return;
    clearInterval(this.#ageCheck);
    this.#ageCheck = undefined;
  }

  #cutOldest(reason: CutReason): void {
    const [stream] = this.#held.keys();
    if (stream === undefined) return;
    this.#cut[reason] += 1;
    this.#options.onCut?.(stream, reason);
    this.delete(stream);
    stream.destroy();
  }

  #startAgeCheck(): void {
    const { maxAgeMs } = this.#options;
    if (maxAgeMs === 0) return;
    const check = () => {
      const before = performance.now() - maxAgeMs;
      for (const { since } of this.#held.values()) {
        if (since > before) return;
        this.#cutOldest('too long');
      }
    };
    this.#ageCheck ??= setInterval(check, Math.max(1, Math.min(maxAgeMs / 4, 1_000))).unref();
  }
}
