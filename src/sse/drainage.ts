import type { EventStream } from './event-stream.js';
import { flushAfterTurn } from './flush-queue.js';
import { encodeFrame } from './frame.js';
import { assertKnown, assertWholeNumber, MAX_TIMER_MS } from './options.js';

/** How the streams of an audience end, so that their clients do not come back all at once. */
export interface DrainOptions {
  /** Milliseconds over which the streams end, evenly. Default: 0, all at the end of this turn. */
  readonly overMs?: number;
  /**
   * The least and the most milliseconds that a client waits before it reconnects. Each is sent a `retry` of its own,
   * at random between them, and keeps it until it is sent another one. Default: none is sent.
   */
  readonly retryMs?: readonly [least: number, most: number];
}

/** How often some streams end: often enough for 2,000 over some seconds to be a few each time. */
const STEP_MS = 10;

/** Streams that end, a few at a time, until all have ended. */
export class Drainage {
  /** Resolves when all streams have been ended that were members by then. */
  readonly finished: Promise<void>;
  readonly #members: ReadonlySet<EventStream>;
  readonly #retryMs: DrainOptions['retryMs'];
  readonly #endsAt: number;
  #lastStepAt = performance.now();
  /** Streams that should have ended by now, and the fraction of one. */
  #due = 0;
  #isFinished = false;

  /** @throws as {@link Audience.drain} does. */
  constructor(members: ReadonlySet<EventStream>, options: DrainOptions) {
    assertKnown('drain()', options, ['overMs', 'retryMs']);
    const { overMs = 0, retryMs } = options;
    assertWholeNumber('overMs', overMs, MAX_TIMER_MS);
    if (retryMs !== undefined) assertRange(retryMs);
    this.#members = members;
    this.#retryMs = retryMs;
    this.#endsAt = this.#lastStepAt + overMs;
    this.finished = new Promise((resolve) => {
      const finish = () => {
        clearInterval(timer);
        this.#isFinished = true;
        this.#endAfterTurn(() => {
          this.#endSome(Number.POSITIVE_INFINITY);
          resolve();
        });
      };
      const timer = setInterval(() => {
        if (performance.now() >= this.#endsAt || members.size === 0) finish();
        else this.#step();
      }, STEP_MS);
      if (overMs === 0) finish();
    });
  }

  /** A stream has become a member. After all others have ended, it ends with this turn. */
  joined(stream: EventStream): void {
    if (this.#isFinished) this.#endAfterTurn(() => this.#end(stream));
  }

  #step(): void {
    const now = performance.now();
    let open = 0;
    for (const { writable } of this.#members) if (writable) open += 1;
    // Evenly over the time that is left, whoever has left or joined meanwhile, and however late this is.
    this.#due += (open * (now - this.#lastStepAt)) / (this.#endsAt - this.#lastStepAt);
    this.#lastStepAt = now;
    const count = Math.floor(this.#due);
    this.#due -= count;
    if (count > 0) this.#endAfterTurn(() => this.#endSome(count));
  }

  #endSome(count: number): void {
    let left = count;
    for (const stream of this.#members) {
      if (left === 0) return;
      if (!stream.writable) continue; // It has ended, and its client has not read all of it.
      left -= 1;
      this.#end(stream);
    }
  }

  #end(stream: EventStream): void {
    if (this.#retryMs !== undefined) {
      const [least, most] = this.#retryMs;
      const retry = Math.round(least + Math.random() * (most - least));
      stream.sendBytes(encodeFrame({ retry }), 0);
    }
    stream.end();
  }

  /** After what was sent in this turn, by other audiences too. */
  #endAfterTurn(end: () => void): void {
    flushAfterTurn({
      isLarge: true, // After all others.
      flush: () => {
        end();
        return true;
      },
    });
  }
}

function assertRange(range: readonly [number, number]): void {
  if (!Array.isArray(range) || range.length !== 2) {
    throw new TypeError('retryMs is the least and the most milliseconds, like [1000, 5000].');
  }
  const [least, most] = range;
  assertWholeNumber('retryMs[1]', most, MAX_TIMER_MS);
  assertWholeNumber('retryMs[0]', least, most);
}
