import { BEGINNING, comparePositions, type Position } from '../journal/journal.js';
import { later } from '../journal/select.js';

/**
 * How long a client waits for a position that the journal has and this process has not followed yet. A process is
 * milliseconds behind the others as a rule. One that is behind for so long cannot reach its journal, and the client does
 * better elsewhere, or later: that is no sooner than its reconnection time, which is some seconds.
 */
const MAX_WAIT_MS = 5_000;

/** Who waits: a client's stream, or its response as long as there is no stream. */
export interface Waiter {
  /** False when it has gone. */
  readonly writable: boolean;
  /** Adds a listener for that it has gone. */
  on(event: 'close', listener: () => void): unknown;
  /** Takes it away. */
  off(event: 'close', listener: () => void): unknown;
}

type Settle = (isReached: boolean) => void;

/**
 * How far this process has followed the journal, and the clients that have had more than that: from another process,
 * which was ahead. They wait by their positions, so that what arrives is looked at once, however many wait.
 */
export class Arrivals {
  #through: Position = BEGINNING;
  readonly #waiting = new Map<Position, Set<Settle>>();
  /** Those that are waited for, in order. */
  readonly #positions: Position[] = [];
  #isClosed = false;

  /** Everything up to here has arrived. */
  get through(): Position {
    return this.#through;
  }

  /**
   * Resolves with whether a position is reached: not if that takes longer than {@link MAX_WAIT_MS}, the client leaves
   * or this is closed.
   *
   * @param isComing asked when the time is over: whether it will be reached for certain. Then the client waits on.
   */
  reached(position: Position, waiter: Waiter, isComing: () => boolean): Promise<boolean> {
    if (comparePositions(position, this.#through) <= 0) return Promise.resolve(true);
    if (this.#isClosed || !waiter.writable) return Promise.resolve(false);
    return new Promise((resolve) => {
      const settle = (isReached: boolean): void => {
        clearTimeout(timer);
        waiter.off('close', leave);
        resolve(isReached);
      };
      const leave = (): void => {
        this.#remove(position, settle);
        settle(false);
      };
      const timer = setTimeout(() => {
        if (isComing()) timer.refresh();
        else leave();
      }, MAX_WAIT_MS).unref();
      waiter.on('close', leave);
      this.#add(position, settle);
    });
  }

  /** Resolves when a position is reached, however long that takes, or when this is closed. */
  async arrived(position: Position): Promise<void> {
    if (comparePositions(position, this.#through) <= 0 || this.#isClosed) return;
    await new Promise<boolean>((resolve) => this.#add(position, resolve));
  }

  /** Everything up to a position has arrived. */
  reach(position: Position): void {
    this.#through = later(this.#through, position);
    for (;;) {
      const [first] = this.#positions;
      if (first === undefined || comparePositions(first, this.#through) > 0) return;
      this.#settleFirst(true);
    }
  }

  /** Nothing more arrives. */
  close(): void {
    this.#isClosed = true;
    while (this.#positions.length > 0) this.#settleFirst(false);
  }

  #add(position: Position, settle: Settle): void {
    const waiting = this.#waiting.get(position);
    if (waiting === undefined) {
      this.#waiting.set(position, new Set([settle]));
      this.#positions.splice(this.#indexOf(position), 0, position);
    } else {
      waiting.add(settle);
    }
  }

  #remove(position: Position, settle: Settle): void {
    const waiting = this.#waiting.get(position);
    if (!waiting?.delete(settle) || waiting.size > 0) return;
    this.#waiting.delete(position);
    this.#positions.splice(this.#indexOf(position), 1);
  }

  #settleFirst(isReached: boolean): void {
    const first = this.#positions.shift() as Position;
    const waiting = this.#waiting.get(first) as Set<Settle>;
    this.#waiting.delete(first);
    for (const settle of waiting) settle(isReached);
  }

  /** Where a position stands among those that are waited for, or would stand. */
  #indexOf(position: Position): number {
    let low = 0;
    let high = this.#positions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (comparePositions(this.#positions[middle] as Position, position) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
