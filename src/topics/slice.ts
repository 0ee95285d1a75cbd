/** A share of time. What takes longer returns when it is over, and is called again to go on. */
export interface Slice {
  readonly isOver: boolean;
}

/** Steps of work between two looks at the clock: some 0.1 ms. A look costs as much as some twenty steps. */
const STEPS_PER_LOOK = 20_000;

/** Counts the steps of a piece of work, to look seldom whether its slice is over. */
export class Meter {
  readonly #slice: Slice | undefined;
  #left = STEPS_PER_LOOK;

  /** Without a slice there is no end. */
  constructor(slice: Slice | undefined) {
    this.#slice = slice;
  }

  /** Counts steps that were made. Returns whether that is enough for now. */
  spend(steps: number): boolean {
    this.#left -= steps;
    if (this.#left > 0 || this.#slice === undefined) return false;
    this.#left = STEPS_PER_LOOK;
    return this.#slice.isOver;
  }
}

/** At most how many steps it takes to match a topic with a selector of this cost. */
export function stepsOf(cost: number, { length }: string): number {
  // One pass looks at 32 places in each step; to begin it takes as long as some eight of them.
  return 20 + cost * (8 + (length >>> 5));
}
