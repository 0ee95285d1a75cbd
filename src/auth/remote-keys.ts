import { createRemoteJWKSet, errors, type JWTVerifyGetKey } from 'jose';

export interface RemoteKeysOptions {
  /** After this time the set is fetched again, so that a key withdrawn from it stops working. */
  readonly maxAgeMs?: number;
  /** So long after a fetch there is no other one, whatever keys tokens name and whether it failed. */
  readonly cooldownMs?: number;
  readonly timeoutMs?: number;
  /** Told of each fetch that failed. */
  readonly warn?: (message: string) => void;
}

/** The keys are needed and cannot be had: a fault of ours, not of the token. */
export class KeysUnavailableError extends Error {
  readonly code = 'ERR_KEYS_UNAVAILABLE';
}

/**
 * The keys of a JSON Web Key Set, for `jwtVerify`. They are fetched with the first token, when they are old and
 * when a token names a key that is not among them. If that fails the last good ones stay in use, and until
 * a fetch succeeds only tokens that cannot be verified without it wait for one.
 *
 * The returned function throws {@link KeysUnavailableError} if a token's key cannot be known.
 */
export function createRemoteKeys(url: URL, options: RemoteKeysOptions = {}): JWTVerifyGetKey {
  const { maxAgeMs = 600_000, cooldownMs = 30_000, timeoutMs = 3_000, warn } = options;
  // When to fetch is decided below; for itself this set would let a flood of unknown keys fetch in an outage.
  const set = createRemoteJWKSet(url, {
    timeoutDuration: timeoutMs,
    cacheMaxAge: Number.POSITIVE_INFINITY,
    cooldownDuration: Number.POSITIVE_INFINITY,
  });
  let fetchedAt: number | undefined;
  let failing = false;
  let nextFetchAt = 0;
  let fetching: Promise<void> | undefined;

  /** Never rejects. All who ask at the same time share one fetch. */
  function refresh(): Promise<void> {
    if (fetching === undefined && performance.now() < nextFetchAt) return Promise.resolve();
    fetching ??= fetchSet().finally(() => {
      nextFetchAt = performance.now() + cooldownMs;
      fetching = undefined;
    });
    return fetching;
  }

  async function fetchSet(): Promise<void> {
    try {
      await set.reload();
      fetchedAt = performance.now();
      failing = false;
    } catch (error) {
      failing = true;
      warn?.(`JWKS_URL cannot be fetched: ${reason(error)}`);
    }
  }

  return async function remoteKey(header, token) {
    if (fetchedAt === undefined || performance.now() - fetchedAt >= maxAgeMs) {
      const refreshed = refresh();
      if (fetchedAt === undefined || !failing) await refreshed;
    }
    if (fetchedAt === undefined) throw new KeysUnavailableError(UNAVAILABLE);
    try {
      return await set(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await refresh();
      // It may be a new key, which only the set could tell.
      if (failing) throw new KeysUnavailableError(UNAVAILABLE);
      return await set(header, token);
    }
  };
}

const UNAVAILABLE = 'The keys that tokens are verified with cannot be fetched at the moment.';

function reason(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
