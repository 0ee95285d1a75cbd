import { test } from '@jest/globals';
import { journalContract, type Keeper } from '../../src/journal/contract/index.js';
import type { Retention } from '../../src/journal/journal.js';

export * from '../../src/journal/contract/tools.js';

export const KEEP_ALL: Retention = { maxUpdates: 1_000_000, maxAgeMs: 0 };

/**
 * Tests that a keeper keeps the contract of journal.ts.
 *
 * @param without - the names of cases that it does not keep yet.
 */
export function testContract(keeper: Keeper, without?: RegExp): void {
  const cases = journalContract(keeper);
  for (const { name, run } of cases) if (!without?.test(name)) test(name, run);
}

/** The names of the cases about topics that end. */
export const ABOUT_ENDINGS = /^(an ended topic|an ending|endings)\b/;

const { now } = Date;

/** Of keepers that ask this process for the time. */
export function setClock(time: number | undefined): void {
  Date.now = time === undefined ? now : () => time;
}
