/** Finds counters that stand still, by this process's own clock: whoever counts there has gone. */
export class StandstillWatch {
  readonly #timeoutMs: number;
  #seen = new Map<string, Sighting>();

  /** @param timeoutMs for how long a counter stands still until it is found. */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Looks at all counters, which replace those of the last time.
   *
   * @returns those that stand still.
   */
  look(counters: Iterable<readonly [name: string, count: string]>, now: number): string[] {
    const before = this.#seen;
    this.#seen = new Map();
    const still: string[] = [];
    for (const [name, count] of counters) {
      const known = before.get(name);
      const sighting = known?.count === count ? known : { count, since: now };
      this.#seen.set(name, sighting);
      if (now - sighting.since >= this.#timeoutMs) still.push(name);
    }
    return still;
  }

  /** Forgets since when they stand still: for a time in which nothing could be seen. */
  reset(): void {
    this.#seen.clear();
  }
}

interface Sighting {
  readonly count: string;
  readonly since: number;
}
