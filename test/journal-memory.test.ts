import { expect, test } from '@jest/globals';
import { openMemoryJournal } from '../src/journal/memory.js';
import { MEMORY_OVERHEAD } from '../src/journal/retention.js';
import { KEEP_ALL, readAll, testContract, update } from './support/journal-contract.js';
import { testRetention } from './support/retention-contract.js';

testContract(async (retention) => openMemoryJournal(retention));
testRetention(async (retention) => openMemoryJournal(retention), MEMORY_OVERHEAD);

test('each memory journal is one of its own', async () => {
  const journals = [openMemoryJournal(KEEP_ALL), openMemoryJournal(KEEP_ALL)];
  await journals[0]?.append([update('a')]);
  expect(await readAll(journals[1] as (typeof journals)[0])).toEqual([]);
});
