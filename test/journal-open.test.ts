import { rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openJournal } from '../src/journal/open.js';
import { dataOf, KEEP_ALL, readAll, update } from './support/journal-contract.js';
import { temporaryDirectory } from './support/journal-process.js';

const OPTIONS = { ...KEEP_ALL, sync: 'os' } as const;
let directory: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
});

afterAll(() => rm(directory, { recursive: true }));

test('memory: opens a journal that is gone when it is closed', async () => {
  for (let n = 0; n < 2; n++) {
    const journal = await openJournal('memory:', OPTIONS);
    await journal.append([update('a')]);
    expect(dataOf(await readAll(journal))).toEqual(['a']);
    await journal.close();
  }
});

test('lmdb: opens the journal in a directory, named from the root or from here', async () => {
  const path = join(directory, 'a b?c#d%20');
  const journal = await openJournal(`lmdb:${path}`, OPTIONS);
  await journal.append([update('a')]);
  await journal.close();
  const again = await openJournal(`lmdb:${relative(process.cwd(), path)}`, OPTIONS);
  expect(dataOf(await readAll(again))).toEqual(['a']);
  await again.close();
});

test.each(['', 'memory', 'memory:x', 'lmdb:', 'lmdb', 'redis:', 'redis', '/var/journal'])(
  'another URL is refused with what is allowed (%j)',
  async (url) => {
    await expect(openJournal(url, OPTIONS)).rejects.toMatchObject({
      name: 'JournalError',
      code: 'ERR_JOURNAL_OPEN',
      message: `A journal is memory:, lmdb:PATH, like lmdb:./journal, or redis://HOST, not ${JSON.stringify(url)}.`,
    });
  },
);
