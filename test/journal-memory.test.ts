import { describe, expect, test } from '@jest/globals';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { MEMORY_OVERHEAD } from '../src/journal/retention.js';
import { KEEP_ALL, readAll, setClock, testContract, update } from './support/journal-contract.js';
import { JournalHandle } from './support/journal-handles.js';

const open = async (retention: Parameters<typeof openMemoryJournal>[0]) =>
  openMemoryJournal(retention);

testContract({ open, overhead: MEMORY_OVERHEAD, setClock });

describe('with several handles', () => {
  testContract({
    open: async (retention) => JournalHandle.open(retention),
    openSecond: async (journal) => (journal as JournalHandle).openSecond(),
    overhead: MEMORY_OVERHEAD,
    setClock,
  });
});

test('each memory journal is one of its own', async () => {
  const [one, other] = [openMemoryJournal(KEEP_ALL), openMemoryJournal(KEEP_ALL)];
  await one.append([update('a')]);
  expect(await readAll(other)).toEqual([]);
});
