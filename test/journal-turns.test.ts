import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openLmdbJournal } from '../src/journal/lmdb/lmdb.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { follow, KEEP_ALL, update } from './support/journal-contract.js';
import { temporaryDirectory } from './support/journal-process.js';

let directory: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
});

afterAll(() => rm(directory, { recursive: true }));

test.each([
  ['in memory', async () => openMemoryJournal(KEEP_ALL)],
  ['on disk', () => openLmdbJournal({ path: join(directory, 'journal'), sync: 'os', ...KEEP_ALL })],
])('a journal %s appends in turns of 4,000 topics, of many calls that wait', async (_, open) => {
  const journal = await open();
  const commits: { readonly topics: number; readonly turn: number }[] = [];
  let turn = 0;
  let timer = setImmediate(function next() {
    turn++;
    timer = setImmediate(next);
  });
  await follow(journal, (entries) => {
    commits.push({ topics: entries.flatMap(({ topics }) => topics).length, turn });
  });
  const one = (call: number) =>
    Array.from({ length: 10 }, (_, n) =>
      update('', {
        topics: Array.from({ length: 100 }, (_, topic) => `${call}/${n}/${topic}`),
      }),
    );
  await Promise.all(Array.from({ length: 40 }, (_, call) => journal.append(one(call))));
  clearImmediate(timer);
  expect(commits.map(({ topics }) => topics)).toEqual(Array(10).fill(4000));
  expect(new Set(commits.map((commit) => commit.turn)).size).toBe(10);
  await journal.close();
});
