// The global of this name is a getter of its own, which takes longer than the look at the clock.
import { performance } from 'node:perf_hooks';

/** How long work of one kind may occupy one turn of the event loop. */
const BUDGET_MS = 5;

/**
 * After a turn that was used up there are so many without such work. Node accepts one connection in each turn: with
 * long turns alone, a client that comes behind three hundred others waits for a second until it is accepted.
 */
const LIGHT_TURNS = 7;

/** How long one task of several has it before the next. */
const SLICE_MS = 2;

/** How many of them have it in one turn, if it takes them no time. */
const SLICES_PER_TURN = 8;

/** A share of time. What takes long looks at it now and then. */
export interface TimeSlice {
  /** Whether others are to have the event loop. */
  readonly isOver: boolean;
  /** Resolves when the work may go on, with a new slice. */
  next(): Promise<void>;
}

/** What work of one kind has of a turn of the event loop: 5 ms from the first look on. */
export class TurnBudget {
  #isBegun = false;
  #end = 0;

  get isOver(): boolean {
    const now = performance.now();
    if (!this.#isBegun) {
      this.#isBegun = true;
      this.#end = now + BUDGET_MS;
      setImmediate(() => this.#rest(performance.now() < this.#end ? 0 : LIGHT_TURNS));
    }
    return now >= this.#end;
  }

  #rest(turns: number): void {
    if (turns === 0) this.#isBegun = false;
    else setImmediate(() => this.#rest(turns - 1));
  }
}

/**
 * The time of many tasks of one kind, such as the parsing of bodies. However many they are, all of them together
 * delay others by one budget; and a short one is not kept waiting by long ones, as each has a slice in its turn.
 */
export class SharedTime {
  readonly #budget = new TurnBudget();
  readonly #waiting: (() => void)[] = [];
  #scheduled = 0;

  /** The slice of a new task. */
  begin(): TimeSlice {
    let end = performance.now() + SLICE_MS;
    const budget = this.#budget;
    return {
      get isOver() {
        return performance.now() >= end || budget.isOver;
      },
      next: async () => {
        await new Promise<void>((resolve) => {
          this.#waiting.push(resolve);
          this.#schedule();
        });
        end = performance.now() + SLICE_MS;
      },
    };
  }

  #schedule(): void {
    if (this.#scheduled > 0) return;
    // One after the other: each works on before the next is called.
    this.#scheduled = Math.min(this.#waiting.length, SLICES_PER_TURN);
    for (let n = 0; n < this.#scheduled; n += 1) setImmediate(() => this.#wakeNext());
  }

  #wakeNext(): void {
    this.#scheduled -= 1;
    if (!this.#budget.isOver) this.#waiting.shift()?.();
    if (this.#waiting.length > 0) this.#schedule();
  }
}
