/** The share of the event loop's time that comes back as allowance while time passes. */
const SHARE = 0.2;
/** What is saved up at most, in milliseconds of work. */
const MAX_SAVED_MS = 1_000;

/**
 * The event loop's time that one kind of work may take: a fifth of it, and a second more after a rest. Whoever
 * does the work asks when the next may begin, and says afterwards how long it took.
 */
export class Allowance {
  #savedMs = MAX_SAVED_MS;
  #countedAt = performance.now();

  /** Milliseconds until work may begin; 0 for now. */
  get waitMs(): number {
    this.#count();
    return this.#savedMs > 0 ? 0 : Math.ceil(-this.#savedMs / SHARE) + 1;
  }

  /** What was saved may turn negative: the next work waits until it is earned. */
  spend(ms: number): void {
    this.#count();
    this.#savedMs -= ms;
  }

  #count(): void {
    const now = performance.now();
    this.#savedMs = Math.min(MAX_SAVED_MS, this.#savedMs + (now - this.#countedAt) * SHARE);
    this.#countedAt = now;
  }
}
