import { KeyObject } from 'node:crypto';
import { type CryptoKey, errors, type JWSHeaderParameters } from 'jose';

/** Finds the key for a token with this header, as jose's key sets do. */
export type KeySet = (header: JWSHeaderParameters) => Promise<CryptoKey>;

type Header = Pick<JWSHeaderParameters, 'alg' | 'kid'>;

/** All who rely on one key, under the name and algorithm by which their tokens have it. */
interface Watch {
  readonly header: Header;
  readonly key: KeyObject;
  readonly callbacks: Set<() => void>;
}

/**
 * Who is to be told when a key is withdrawn from a key set: when the tokens that it verified would no longer be
 * taken. A key is its material; where it stands in the set does not matter.
 */
export class Withdrawals {
  /** One for each key, name and algorithm, however many rely on it. */
  readonly #watches = new Map<string, Watch>();
  readonly #ids = new WeakMap<CryptoKey, string>();

  get isEmpty(): boolean {
    return this.#watches.size === 0;
  }

  /** Calls back once if the key that verified a token with this header is withdrawn, unless that is cancelled. */
  watch({ alg = '', kid }: JWSHeaderParameters, key: CryptoKey, callback: () => void): () => void {
    const header: Header = kid === undefined ? { alg } : { alg, kid };
    const id = JSON.stringify([header, this.#idOf(key)]);
    const watch = this.#watches.get(id) ?? {
      header,
      key: KeyObject.from(key),
      callbacks: new Set(),
    };
    this.#watches.set(id, watch);
    // The same function may be given twice.
    const own = () => callback();
    watch.callbacks.add(own);
    return () => {
      watch.callbacks.delete(own);
      if (watch.callbacks.size === 0 && this.#watches.get(id) === watch) this.#watches.delete(id);
    };
  }

  /** Calls back all whose key is not in the set; or only those whose tokens name the same one. */
  async check(set: KeySet, only?: JWSHeaderParameters): Promise<void> {
    for (const [id, watch] of [...this.#watches]) {
      if (only !== undefined && only.kid !== watch.header.kid) continue;
      if (await holds(set, watch)) continue;
      this.#watches.delete(id);
      for (const callback of watch.callbacks) callback();
      watch.callbacks.clear();
    }
  }

  #idOf(key: CryptoKey): string {
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    const id = KeyObject.from(key).export({ format: 'der', type: 'spki' }).toString('base64');
    this.#ids.set(key, id);
    return id;
  }
}

/** Whether a set has the key for a token with this header. */
async function holds(set: KeySet, { header, key }: Watch): Promise<boolean> {
  try {
    return isSame(key, await set(header));
  } catch (error) {
    // Several fit: a token need not name its key.
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) return false;
    for await (const candidate of error) if (isSame(key, candidate)) return true;
    return false;
  }
}

function isSame(key: KeyObject, found: CryptoKey): boolean {
  return key.equals(KeyObject.from(found));
}
