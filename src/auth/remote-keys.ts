import { type CryptoKey, createRemoteJWKSet, errors, type JWSHeaderParameters } from 'jose';
import type { Log } from '../log.js';
import { Withdrawals } from './withdrawals.js';

/** How the keys of `JWKS_URL` are fetched. */
export interface RemoteKeysOptions {
  /** Milliseconds after which the set is fetched again, so that a key withdrawn from it stops working. */
  readonly maxAgeMs?: number;
  /**
   * So many milliseconds after a fetch there is no other one, whatever keys tokens name and whether it failed. By default half
   * a minute, or `maxAgeMs` if that is less.
   */
  readonly cooldownMs?: number;
  /** Milliseconds that a fetch may take. */
  readonly timeoutMs?: number;
  /** Told of keys that an operator should look at, and of each fetch that failed. */
  readonly log?: Log;
}

/** The keys are needed and cannot be had: a fault of ours, not of the token. */
export class KeysUnavailableError extends Error {
  readonly code = 'ERR_KEYS_UNAVAILABLE';
}

/**
 * The keys of a JSON Web Key Set. They are fetched with the first token, when they are old and when a token names a
 * key that is not among them; while somebody relies on one of them, they are fetched when they are old even if no
 * token comes. If a fetch fails the last good ones stay in use, and until one succeeds only tokens that cannot be
 * verified without it wait for one.
 */
export class RemoteKeys {
  readonly #set: ReturnType<typeof createRemoteJWKSet>;
  readonly #maxAgeMs: number;
  readonly #cooldownMs: number;
  readonly #log: Log | undefined;
  readonly #withdrawals = new Withdrawals();
  #fetchedAt: number | undefined;
  #isFailing = false;
  #nextFetchAt = 0;
  #fetching: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(url: URL, options: RemoteKeysOptions = {}) {
    const { maxAgeMs = 600_000, timeoutMs = 3_000, log } = options;
    const { cooldownMs = Math.min(30_000, maxAgeMs) } = options;
    this.#maxAgeMs = maxAgeMs;
    this.#cooldownMs = cooldownMs;
    this.#log = log;
    // When to fetch is decided here; for itself this set would let a flood of unknown keys fetch in an outage.
    this.#set = createRemoteJWKSet(url, {
      timeoutDuration: timeoutMs,
      cacheMaxAge: Number.POSITIVE_INFINITY,
      cooldownDuration: Number.POSITIVE_INFINITY,
    });
  }

  /**
   * Finds the key for a token with this header, as `jwtVerify` asks for it.
   *
   * @throws {KeysUnavailableError} if it cannot be known.
   */
  async find(header: JWSHeaderParameters): Promise<CryptoKey> {
    // No set has such a key: to fetch one would let a token that nobody signed do so.
    if (header.kid !== undefined && typeof header.kid !== 'string') {
      throw new errors.JWKSNoMatchingKey();
    }
    if (this.#isOld()) {
      const refreshed = this.#refresh();
      if (this.#fetchedAt === undefined || !this.#isFailing) await refreshed;
    }
    if (this.#fetchedAt === undefined) throw new KeysUnavailableError(UNAVAILABLE);
    try {
      return await this.#set(header);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#refresh();
      // It may be a new key, which only the set could tell.
      if (this.#isFailing) throw new KeysUnavailableError(UNAVAILABLE);
      return await this.#set(header);
    }
  }

  /**
   * Calls back once if the key that verified a token with this header is withdrawn: at most `maxAgeMs` and
   * `cooldownMs` later, unless the set cannot be fetched. Until then, or until the returned function is called, a
   * timer sees to it that the set is fetched.
   */
  onWithdrawn(header: JWSHeaderParameters, key: CryptoKey, callback: () => void): () => void {
    const cancel = this.#withdrawals.watch(header, key, callback);
    // It may have gone since the token was verified.
    void this.#withdrawals.check(this.#set, header);
    this.#schedule();
    return () => {
      cancel();
      if (!this.#withdrawals.isEmpty) return;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    };
  }

  #isOld(): boolean {
    return performance.now() >= this.#dueAt();
  }

  #dueAt(): number {
    return this.#fetchedAt === undefined ? 0 : this.#fetchedAt + this.#maxAgeMs;
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#withdrawals.isEmpty) return;
    const delay = Math.max(this.#dueAt(), this.#nextFetchAt) - performance.now();
    this.#timer = setTimeout(async () => {
      this.#timer = undefined;
      // Tokens may have had it fetched in the meantime.
      if (this.#isOld()) await this.#refresh();
      this.#schedule();
    }, delay).unref();
  }

  /** Never rejects. All who ask at the same time share one fetch. */
  #refresh(): Promise<void> {
    if (this.#fetching === undefined && performance.now() < this.#nextFetchAt) {
      return Promise.resolve();
    }
    this.#fetching ??= this.#fetch().finally(() => {
      this.#nextFetchAt = performance.now() + this.#cooldownMs;
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetch(): Promise<void> {
    try {
      await this.#set.reload();
    } catch (error) {
      this.#isFailing = true;
      const message = `JWKS_URL cannot be fetched: ${reason(error)}`;
      this.#log?.({ level: 'error', event: 'jwks-unreachable', message, error });
      return;
    }
    this.#fetchedAt = performance.now();
    this.#isFailing = false;
    void this.#withdrawals.check(this.#set);
  }
}

const UNAVAILABLE = 'The keys that tokens are verified with cannot be fetched at the moment.';

function reason(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
