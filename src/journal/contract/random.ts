/** Numbers that look random and are the same for the same seed (mulberry32). */
export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed;
  }

  /** A whole number from 0, less than this. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** Some of a list, each at most once, in another order. */
  some<T>(list: readonly T[], atLeast = 0): T[] {
    const left = [...list];
    const count = atLeast + this.below(list.length + 1 - atLeast);
    return Array.from({ length: count }, () => left.splice(this.below(left.length), 1)[0] as T);
  }

  /** A list of so many at most. */
  list<T>(atMost: number, make: () => T, atLeast = 0): T[] {
    return Array.from({ length: atLeast + this.below(atMost + 1 - atLeast) }, make);
  }
}

/** Runs scripts that a seed decides, from short ones to long ones. What fails says its seed. */
export async function withSeeds(
  runs: number,
  run: (random: Random, length: number) => Promise<void>,
): Promise<void> {
  const first = Date.now() % 1_000_000;
  for (let n = 0; n < runs; n += 1) {
    try {
      await run(new Random(first + n), n);
    } catch (error) {
      throw new Error(`It fails with the seed ${first + n} and the length ${n}.`, { cause: error });
    }
  }
}
