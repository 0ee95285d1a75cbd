import { performance } from 'node:perf_hooks';
import type { EventStream } from '../sse/event-stream.js';
import { type TimeSlice, TurnBudget } from '../time-slice.js';

/**
 * How many clients are read for at the same time. The others wait for their turn, which is over after one batch, or
 * after some time: so a client with a short way to go is not kept waiting by those with a long one.
 */
const MAX_AT_ONCE = 8;
const TURN_MS = 2;

/** The client that was read for has gone. */
export class ClientGone extends Error {}

/** A client's turn to be read for. Its `next` throws {@link ClientGone} where there is nobody to read for any more. */
export type Turn = TimeSlice;

/**
 * The work for clients that are not live: what a stranger's request can make it cost. It is done in turns and in slices
 * of time that all share, so however many clients there are and whatever they ask for, the rest of the service is
 * delayed by one slice. It ends with its client.
 */
export class CatchUps {
  #running = 0;
  /** In order of their coming. */
  readonly #waiting = new Set<() => void>();
  readonly #budget = new TurnBudget({ isPatient: true });

  /** How many clients are read for at this moment, and how many wait for their turn. */
  get size(): number {
    return this.#running + this.#waiting.size;
  }

  /** How many clients wait for their turn. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Reads for a client when it is its turn.
   *
   * @throws {ClientGone} as soon as it is noticed.
   */
  async take<T>(stream: EventStream, read: (turn: Turn) => Promise<T>): Promise<T> {
    await this.#enter();
    try {
      const turn = this.#turnOf(stream);
      if (turn.isOver) await turn.next();
      return await read(turn);
    } finally {
      this.#leave();
    }
  }

  #turnOf(stream: EventStream): Turn {
    let end = performance.now() + TURN_MS;
    const budget = this.#budget;
    return {
      get isOver() {
        const now = performance.now();
        return !stream.writable || now >= end || budget.isOverAt(now);
      },
      next: async () => {
        if (!stream.writable) throw new ClientGone();
        // Those who wait go first: what takes long is done in many turns.
        this.#leave();
        await this.#enter();
        while (stream.writable && budget.isOver) await budget.next();
        if (!stream.writable) throw new ClientGone();
        end = performance.now() + TURN_MS;
      },
    };
  }

  async #enter(): Promise<void> {
    if (this.#running < MAX_AT_ONCE && this.#waiting.size === 0) this.#running += 1;
    else await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#running -= 1;
    } else {
      this.#waiting.delete(next);
      next(); // It takes over this place.
    }
  }
}
