import { test } from '@jest/globals';
import { journalContract, type Keeper } from '../../src/journal/contract/index.js';
import type { Retention } from '../../src/journal/journal.js';

export * from '../../src/journal/contract/tools.js';

export const KEEP_ALL: Retention = { maxUpdates: 1_000_000, maxAgeMs: 0 };

/** Tests that a keeper keeps the contract of journal.ts. */
export function testContract(keeper: Keeper): void {
  const cases = journalContract(keeper);
  for (const { name, run } of cases) test(name, run);
}

const { now } = Date;

/** Of keepers that ask this process for the time. */
export function setClock(time: number | undefined): void {
  Date.now = time === undefined ? now : () => time;
}
