/**
 * The endings that an LMDB journal remembers, in its ledger: `['ending', number]` is a {@link StoredEnding}, and
 * `['reopened', number]` a {@link StoredReopened}, if some of its topics have been reopened and others not. Each is put in
 * the transaction of its updates. All of them are in memory as well, so that an append asks without the database whether a
 * topic has ended.
 */

import { Endings, type EndingsChange, type EndingsPlan, type NumberedEnding } from '../endings.js';
import type { Ending, Position } from '../journal.js';
import type { LedgerDatabase } from './ledger.js';

/** The number is there so that the checksum covers it; it comes first in both. */
export type StoredEnding = [
  number: number,
  position: Position,
  topics: readonly string[],
  isPrivate: boolean,
  ownId: string | null,
  publisher: string | null,
  rememberedAt: number,
];

/**
 * Which topics have been reopened, by their places in the list of the ending. The position is that of the ending: numbers
 * are given anew when none is remembered any more.
 */
export type StoredReopened = [number: number, position: Position, reopened: readonly number[]];

/** The first parts of the names that these have in the ledger. */
export const ENDING_FACT = 'ending';
export const REOPENED_FACT = 'reopened';

/** Each commit calls `prepare`, `write` within its transaction, and `settle` when that has succeeded. */
export class LmdbEndings {
  readonly #ledger: LedgerDatabase;
  readonly #endings = new Endings();
  /** Those that are forgotten here and still on the disk: a commit that fails leaves them to the next one. */
  #forgotten: number[] = [];

  /** @throws {Error} an ending is damaged. */
  constructor(ledger: LedgerDatabase) {
    this.#ledger = ledger;
    const reopened = new Map(
      ledger
        .getRange(allOf(REOPENED_FACT))
        .map(({ key, value }) => fromStoredReopened(key[1] as number, value) ?? damaged())
        .map(({ position, reopened }) => [position, reopened]),
    );
    for (const { key, value } of ledger.getRange(allOf(ENDING_FACT))) {
      const found = fromStoredEnding(key[1] as number, value) ?? damaged();
      this.#endings.add({
        ...found,
        reopened: reopened.get(found.update.position) ?? found.reopened,
      });
    }
  }

  hasEnded(topic: string, now: number): boolean {
    return this.#endings.hasEnded(topic, now);
  }

  pages(now: () => number): AsyncGenerator<readonly Ending[]> {
    return this.#endings.pages(now);
  }

  prepare(plan: EndingsPlan, now: number): EndingsChange {
    const change = this.#endings.prepare(plan, now);
    this.#forgotten.push(...change.forgotten);
    return { ...change, forgotten: this.#forgotten };
  }

  /** Puts a change, in the transaction of its entries. Does not throw. */
  write({ added, forgotten, changed }: EndingsChange): void {
    for (const number of forgotten) this.#remove(number);
    for (const { record, reopened, isOver } of changed) {
      if (isOver) this.#remove(record.sequence);
      else this.#putReopened(record.sequence, record.entry.update, reopened);
    }
    for (const each of added) {
      this.#ledger.put([ENDING_FACT, each.number], toStoredEnding(each));
      if (each.reopened.length > 0) this.#putReopened(each.number, each.update, each.reopened);
    }
  }

  settle(change: EndingsChange): void {
    this.#forgotten = [];
    this.#endings.settle(change);
  }

  #putReopened(number: number, { position }: Ending['update'], reopened: readonly number[]): void {
    const stored: StoredReopened = [number, position, reopened];
    this.#ledger.put([REOPENED_FACT, number], stored);
  }

  #remove(number: number): void {
    this.#ledger.remove([ENDING_FACT, number]);
    this.#ledger.remove([REOPENED_FACT, number]);
  }
}

/** @returns undefined if the value is not what was stored under this number. */
export function fromStoredEnding(number: number, stored: unknown): NumberedEnding | undefined {
  if (!Array.isArray(stored) || stored[0] !== number || !Array.isArray(stored[2])) return undefined;
  const [, position, topics, isPrivate, ownId, publisher, rememberedAt] = stored as StoredEnding;
  const update = {
    id: ownId ?? position,
    position,
    topics,
    private: isPrivate,
    publisher: publisher ?? undefined,
  };
  return { update, reopened: [], number, rememberedAt };
}

/** @returns undefined if the value is not what was stored under this number. */
export function fromStoredReopened(
  number: number,
  stored: unknown,
): { readonly position: Position; readonly reopened: readonly number[] } | undefined {
  if (!Array.isArray(stored) || stored[0] !== number || !Array.isArray(stored[2])) return undefined;
  const [, position, reopened] = stored as StoredReopened;
  return { position, reopened };
}

function toStoredEnding({ update, number, rememberedAt }: NumberedEnding): StoredEnding {
  const { id, position, topics, private: isPrivate, publisher = null } = update;
  const ownId = id === position ? null : id;
  return [number, position, topics, isPrivate, ownId, publisher, rememberedAt];
}

function allOf(fact: typeof ENDING_FACT | typeof REOPENED_FACT) {
  return {
    start: [fact, 0] as [typeof fact, number],
    end: [fact, Number.MAX_SAFE_INTEGER] as [typeof fact, number],
  };
}

function damaged(): never {
  throw new Error('an ending that it remembers is damaged');
}
