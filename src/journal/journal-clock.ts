/** What a clock goes on from; kept with the journal. */
export interface ClockState {
  /** What the clock showed last. Never decreases. */
  readonly time: number;
  /** What the machine's clock showed then. */
  readonly wall: number;
  /** The most that the machine's clock has ever shown, and what this one did then. */
  readonly highWall: number;
  readonly highTime: number;
}

/**
 * The clock that ages are measured with, in milliseconds. It follows the machine's, which may be ahead for a
 * while, or behind, and counts only what has passed:
 *
 * - When the machine's clock goes back, this one stands, and goes on with it from there. So entries that were
 *   stamped while it was ahead grow old like all others.
 * - When the machine's clock comes back in one leap to where it had once been, it had been behind, and only what
 *   lies beyond that is counted. So entries are not taken for older than they are.
 *
 * Other leaps forward count, for a machine that was asleep or off is not told from one whose clock was set.
 */
export class JournalClock {
  #state: ClockState | undefined;

  constructor(state?: ClockState) {
    this.#state = state;
  }

  now(): number {
    return this.read().time;
  }

  /** Looks at the machine's clock. */
  read(): ClockState {
    this.#state = advance(this.#state, Date.now());
    return this.#state;
  }
}

/** Ages are looked at every second, so that a larger step is a leap, or the time of a restart. */
const LEAP_MS = 60_000;

function advance(last: ClockState | undefined, wall: number): ClockState {
  if (last === undefined) return { time: wall, wall, highWall: wall, highTime: wall };
  const passed = Math.max(wall - last.wall, 0);
  const isBack = passed > LEAP_MS && last.wall < last.highWall && wall >= last.highWall;
  const time = isBack
    ? Math.max(last.time, last.highTime + (wall - last.highWall))
    : last.time + passed;
  if (wall < last.highWall) return { ...last, time, wall };
  return { time, wall, highWall: wall, highTime: time };
}
