import { LRUCache } from 'lru-cache';

/** So many in a time; all at once if nothing was before. */
export interface Rate {
  readonly count: number;
  readonly periodMs: number;
}

const PERIODS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };
const MAX_COUNT = 1_000_000;

/** `300/m` is 300 a minute; also `/s` and `/h`. Undefined for what is no rate. */
export function parseRate(text: string): Rate | undefined {
  const [, count, unit = ''] = /^([1-9]\d{0,6})\/([smh])$/.exec(text) ?? [];
  const periodMs = PERIODS_MS[unit];
  if (periodMs === undefined || Number(count) > MAX_COUNT) return undefined;
  return { count: Number(count), periodMs };
}

/** `300/m`, as it was set. */
export function formatRate({ count, periodMs }: Rate): string {
  const unit = Object.keys(PERIODS_MS).find((name) => PERIODS_MS[name] === periodMs);
  return `${count}/${unit}`;
}

/**
 * Keys that a limiter remembers. Who is forgotten may start anew, which is what a stranger with that many
 * addresses has anyway. Full, a limiter takes 9 MB: each key some 180 bytes.
 */
export const MAX_KEYS = 50_000;

/**
 * A token bucket for each key: it holds `count` and fills up again within `periodMs`.
 *
 * A bucket is one number, the moment at which it will be full (the generic cell rate algorithm), and needs no
 * timer. The libraries on npm keep a timer and an object for each key, and as many keys as strangers have
 * addresses.
 */
export class RateLimiter {
  /** When the bucket of a key is full again; the past, or no entry, is a full one. */
  readonly #fullAt = new LRUCache<string, number>({ max: MAX_KEYS });
  readonly rate: Rate;
  readonly #intervalMs: number;
  readonly #now: () => number;

  constructor(rate: Rate, now: () => number = () => performance.now()) {
    this.rate = rate;
    this.#intervalMs = rate.periodMs / rate.count;
    this.#now = now;
  }

  /** Takes one and returns 0; or takes none and returns the milliseconds until there is one. */
  take(key: string): number {
    const now = this.#now();
    const fullAt = Math.max(this.#fullAt.get(key) ?? 0, now) + this.#intervalMs;
    const waitMs = fullAt - now - this.rate.periodMs;
    // Half an interval is for the rounding of sums.
    if (waitMs > this.#intervalMs / 2) return waitMs;
    this.#fullAt.set(key, fullAt);
    return 0;
  }

  /** Takes more, also more than there are: whoever comes next waits for them. */
  charge(key: string, count: number): void {
    const fullAt = Math.max(this.#fullAt.get(key) ?? 0, this.#now());
    this.#fullAt.set(key, fullAt + count * this.#intervalMs);
  }

  /** Puts back one that was taken. */
  giveBack(key: string): void {
    const fullAt = this.#fullAt.get(key);
    if (fullAt !== undefined) this.#fullAt.set(key, fullAt - this.#intervalMs);
  }

  /** How many keys are remembered. */
  get size(): number {
    return this.#fullAt.size;
  }
}
