/** How many of something there are at the moment, by key. A key that has none takes no memory. */
export class Tally {
  readonly #counts = new Map<string, number>();

  /** Counts one more and says how many there are now. */
  add(key: string): number {
    const count = this.of(key) + 1;
    this.#counts.set(key, count);
    return count;
  }

  /** Takes back one that was counted. */
  remove(key: string): void {
    const count = this.of(key) - 1;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }

  of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  /** How many keys have any. */
  get size(): number {
    return this.#counts.size;
  }
}
