import { LRUCache } from 'lru-cache';
import { type Grants, verifyToken } from './grants.js';
import type { TokenKey } from './keys.js';
import { RemoteKeys } from './remote-keys.js';

const MAX_TOKENS = 1_000;

/**
 * Verifies tokens with one key and remembers those that were good, since publishers repeat theirs. Those of a
 * key set are verified each time: its keys may be withdrawn.
 */
export class VerifiedTokens {
  readonly #key: TokenKey;
  readonly #verified = new LRUCache<string, Grants>({ max: MAX_TOKENS });

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
