import { LRUCache } from 'lru-cache';

/** Budgets of so many publishers are known at a time. */
const MAX_PUBLISHERS = 10_000;

/** The parts of a budget that the bodies of single publishers may hold, so that none leaves no room for others. */
export class PublisherBudgets {
  readonly #whole: BodyBudget;
  readonly #maxBytes: number;
  readonly #budgets = new LRUCache<string, BodyBudget>({ max: MAX_PUBLISHERS });

  constructor(whole: BodyBudget, maxBytes: number) {
    this.#whole = whole;
    this.#maxBytes = maxBytes;
  }

  of(publisher: string): BodyBudget {
    let budget = this.#budgets.get(publisher);
    if (budget === undefined) {
      budget = new BodyBudget(this.#maxBytes, this.#whole);
      this.#budgets.set(publisher, budget);
    }
    return budget;
  }
}

/**
 * Bytes that request bodies may hold, all together: from their first byte until they are answered. What is held is
 * counted, and not what was announced: a client that sends nothing holds nothing.
 */
export class BodyBudget {
  /** How many it allows. */
  readonly maxBytes: number;
  readonly #whole: BodyBudget | undefined;
  #held = 0;

  /**
   * @param maxBytes how many it allows.
   * @param whole the budget that this one is a part of.
   */
  constructor(maxBytes: number, whole?: BodyBudget) {
    this.maxBytes = maxBytes;
    this.#whole = whole;
  }

  /** Takes so many more bytes. Returns false, and takes none, if they are not left. */
  hold(bytes: number): boolean {
    if (this.#held + bytes > this.maxBytes || this.#whole?.hold(bytes) === false) return false;
    this.#held += bytes;
    return true;
  }

  /** Gives so many bytes back. */
  release(bytes: number): void {
    this.#held -= bytes;
    this.#whole?.release(bytes);
  }
}
