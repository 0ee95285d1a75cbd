/**
 * The keys that an LMDB journal remembers, in its ledger: `['key', number]` is a {@link StoredKey}. Each is put in the
 * transaction of its updates. All of them are in memory as well, so that an append looks for its key without the database.
 */

import { AppendKeys, type PlacedKey, type Places } from '../append-keys.js';
import type { LedgerDatabase } from './ledger.js';

/** A key that is remembered. */
export interface RememberedKey {
  readonly key: PlacedKey;
  /** Greater than those of all before. */
  readonly number: number;
  /** By the journal's clock. */
  readonly rememberedAt: number;
}

/** What a commit does to the keys. */
export interface KeysChange {
  readonly added: readonly RememberedKey[];
  /** The numbers of those that are forgotten. */
  readonly forgotten: readonly number[];
}

/** The number is there so that the checksum covers it. */
type StoredKey = [
  number: number,
  key: string,
  digest: string,
  publisher: string | null,
  rememberedAt: number,
  places: Places,
];

/** The first part of the names that keys have in the ledger. */
export const KEY_FACT = 'key';

/** Each commit calls `prepare`, `write` within its transaction, and `settle` when that has succeeded. */
export class LmdbKeys {
  readonly #ledger: LedgerDatabase;
  readonly #keys = new AppendKeys();
  #nextNumber = 1;
  /** Those that are forgotten here and still on the disk: a commit that fails leaves them to the next one. */
  #forgotten: number[] = [];

  /** @throws {Error} a key is damaged. */
  constructor(ledger: LedgerDatabase) {
    this.#ledger = ledger;
    const stored = ledger.getRange({
      start: [KEY_FACT, 0],
      end: [KEY_FACT, Number.MAX_SAFE_INTEGER],
    });
    for (const { key: name, value } of stored) {
      const found = fromStoredKey(name[1] as number, value);
      if (found === undefined) throw new Error('a key that it remembers is damaged');
      this.#add(found);
    }
  }

  find(key: string, now: number): PlacedKey | undefined {
    return this.#keys.find(key, now);
  }

  prepare(added: readonly PlacedKey[], now: number): KeysChange {
    this.#forgotten.push(...this.#keys.forget(now, added));
    return {
      added: added.map((key, n) => ({ key, number: this.#nextNumber + n, rememberedAt: now })),
      forgotten: this.#forgotten,
    };
  }

  /** Puts a change, in the transaction of its entries. Does not throw. */
  write({ added, forgotten }: KeysChange): void {
    for (const number of forgotten) this.#ledger.remove([KEY_FACT, number]);
    for (const each of added) this.#ledger.put([KEY_FACT, each.number], toStoredKey(each));
  }

  settle({ added }: KeysChange): void {
    this.#forgotten = [];
    for (const each of added) this.#add(each);
  }

  #add({ key, number, rememberedAt }: RememberedKey): void {
    this.#keys.add(key, number, rememberedAt);
    this.#nextNumber = number + 1;
  }
}

/** @returns undefined if the value is not what was stored under this number. */
export function fromStoredKey(number: number, stored: unknown): RememberedKey | undefined {
  if (!Array.isArray(stored) || stored[0] !== number || !Array.isArray(stored[5])) return undefined;
  const [, text, digest, publisher, rememberedAt, places] = stored as StoredKey;
  const key = { key: text, digest, publisher: publisher ?? undefined, places };
  return { key, number, rememberedAt };
}

function toStoredKey({ key, number, rememberedAt }: RememberedKey): StoredKey {
  return [number, key.key, key.digest, key.publisher ?? null, rememberedAt, key.places];
}
