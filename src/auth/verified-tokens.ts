import { LRUCache } from 'lru-cache';
import { ownCopy } from '../topics/own-copy.js';
import { sizeOf } from '../topics/selector.js';
import { type Grants, verifyToken } from './grants.js';
import type { TokenKey } from './keys.js';
import { RemoteKeys } from './remote-keys.js';

/** Those used least recently are forgotten first, and verified again when they come back. */
const MAX_TOKENS = 1_000;

/**
 * Of all tokens together. What a token of 8 KiB grants takes up to 50 times as much once it is compiled: 1,000 such
 * tokens would be 300 MB.
 */
const MAX_BYTES = 8 * 1024 * 1024;
const OVERHEAD_BYTES = 500;
/** A payload takes up to so many for each character of its token once it is parsed: `[[],[],…]`. */
const BYTES_PER_PAYLOAD_CHARACTER = 16;

/**
 * Verifies tokens with one key and remembers those that were good, since publishers repeat theirs. Those of a
 * key set are verified each time: its keys may be withdrawn.
 */
export class VerifiedTokens {
  readonly #key: TokenKey;
  readonly #verified = new LRUCache<string, Grants>({
    max: MAX_TOKENS,
    maxSize: MAX_BYTES,
    sizeCalculation: bytesOf,
  });

  constructor(key: TokenKey) {
    this.#key = key;
  }

  /** @throws as {@link verifyToken} does. */
  async verify(token: string): Promise<Grants> {
    const known = this.#verified.get(token);
    if (known !== undefined && !hasExpired(known)) return known;
    const grants = await verifyToken(token, this.#key);
    // A token from the query or a cookie would keep all of the URL or header.
    if (!(this.#key.key instanceof RemoteKeys)) this.#verified.set(ownCopy(token), grants);
    return grants;
  }
}

/** What a token takes at most with what it grants. */
function bytesOf({ publish, subscribe, payload }: Grants, { length }: string): number {
  const ofPayload = payload === undefined ? 0 : BYTES_PER_PAYLOAD_CHARACTER * length;
  return [...publish, ...subscribe].reduce(
    (sum, selector) => sum + sizeOf(selector),
    OVERHEAD_BYTES + length + ofPayload,
  );
}

function hasExpired({ expiresAt = Number.POSITIVE_INFINITY }: Grants): boolean {
  return expiresAt <= Date.now();
}
