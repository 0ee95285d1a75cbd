import { performance } from 'node:perf_hooks';

const TICK_MS = 250;
/** The event loop is stalled when a timer is so late: all clients wait as long. */
const STALLED_MS = 1_000;
/** So long a stall counts after its end. Nobody can ask during one, and one is seldom alone. */
const REMEMBERED_MS = 5_000;

/** Watches whether the event loop gets stalled, as by work that takes too long or a machine that has no time for it. */
export class EventLoopWatch {
  readonly #timer: NodeJS.Timeout;
  #lastTick = performance.now();
  #stalledUntil = Number.NEGATIVE_INFINITY;
  #stalledMs = 0;
  #stalls = 0;

  constructor() {
    this.#timer = setInterval(() => this.#look(), TICK_MS).unref();
  }

  /** How long the event loop was stalled in the last seconds, in milliseconds; undefined if it was not. */
  get stalledMs(): number | undefined {
    this.#look(); // A request may be handled after a stall and before the timer.
    const isOver = performance.now() - this.#stalledUntil > REMEMBERED_MS;
    return isOver ? undefined : this.#stalledMs;
  }

  /** How often it was stalled. */
  get stalls(): number {
    return this.#stalls;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    const lateMs = now - this.#lastTick - TICK_MS;
    this.#lastTick = now;
    if (lateMs < STALLED_MS) return;
    this.#stalls += 1;
    this.#stalledMs = lateMs;
    this.#stalledUntil = now;
  }
}
