import { LRUCache } from 'lru-cache';
import { type Grants, verifyToken } from './grants.js';
import type { TokenKey } from './keys.js';
import { RemoteKeys } from './remote-keys.js';

/** Those used least recently are forgotten first, and verified again when they come back. */
const MAX_TOKENS = 1_000;

/**
 * Of all tokens together. What a token of 8 KiB grants takes up to 25 times as much once it is compiled: so this
 * is 13 MB at most, where 1,000 such tokens would be 200 MB.
 */
const MAX_CHARACTERS = 512 * 1_024;

/**
 * Verifies tokens with one key and remembers those that were good, since publishers repeat theirs. Those of a
 * key set are verified each time: its keys may be withdrawn.
 */
export class VerifiedTokens {
  readonly #key: TokenKey;
  readonly #verified = new LRUCache<string, Grants>({
    max: MAX_TOKENS,
    maxSize: MAX_CHARACTERS,
    sizeCalculation: (_, token) => token.length,
  });

  constructor(key: TokenKey) {
    this.#key = key;
  }

  /** @throws as {@link verifyToken} does. */
  async verify(token: string): Promise<Grants> {
    const known = this.#verified.get(token);
    if (known !== undefined && !hasExpired(known)) return known;
    const grants = await verifyToken(token, this.#key);
    if (!(this.#key.key instanceof RemoteKeys)) this.#verified.set(token, grants);
    return grants;
  }
}

function hasExpired({ expiresAt = Number.POSITIVE_INFINITY }: Grants): boolean {
  return expiresAt <= Date.now();
}
