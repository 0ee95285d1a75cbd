import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  jest,
  test,
} from '@jest/globals';
import { open as openLmdb } from 'lmdb';
import {
  ENDING_MAX_AGE_MS,
  type EntryRef,
  type Journal,
  type Update,
} from '../src/journal/journal.js';
import { FACT_ENCODER } from '../src/journal/lmdb/entry.js';
import { openLmdbJournal } from '../src/journal/lmdb/lmdb.js';
import { checkJournal, saveJournal } from '../src/journal/lmdb/save.js';
import { allEndings, dataOf, KEEP_ALL, readAll, update } from './support/journal-contract.js';
import {
  breakBranches,
  noteCleanStop,
  overwriteText,
  runCheckJournal,
  writeJournalFile,
} from './support/journal-file.js';
import {
  buildJournalProcess,
  canLiftFileLimit,
  liftFileLimit,
  temporaryDirectory,
} from './support/journal-process.js';

let directory: string;
let path: string;
let count = 0;
let processes: Awaited<ReturnType<typeof buildJournalProcess>>;

beforeAll(async () => {
  [directory, processes] = await Promise.all([temporaryDirectory(), buildJournalProcess()]);
});

beforeEach(() => {
  path = join(directory, `${++count}`);
});

afterEach(() => {
  jest.restoreAllMocks();
});

afterAll(async () => {
  await processes.remove();
  await rm(directory, { recursive: true });
});

const open = (rest: Partial<Parameters<typeof openLmdbJournal>[0]> = {}): Promise<Journal> =>
  openLmdbJournal({ path, sync: 'os', ...KEEP_ALL, ...rest });

const last = (topic: string, rest: Partial<Update> = {}): Update =>
  update(`end of ${topic}`, { topics: [topic], last: true, ...rest });

const reopening = (...topics: string[]): Update => update('again', { topics, reopen: true });

const topicEnded = { code: 'ERR_TOPIC_ENDED' };

/** The topics that have ended, in order. */
async function endedIn(journal: Journal): Promise<string[]> {
  return (await allEndings(journal)).flatMap(({ ended }) => ended).sort();
}

async function refusesAll(journal: Journal, topics: readonly string[]): Promise<void> {
  for (const topic of topics) {
    const late = journal.append([update('late', { topics: [topic] })]);
    await expect(late).rejects.toMatchObject(topicEnded);
  }
}

describe('after a restart', () => {
  test('a topic has ended still, also if its last update has been trimmed', async () => {
    let journal = await open({ maxUpdates: 3 });
    const end = last('t', { id: 'own', private: true, publisher: 'ada' });
    const [ref] = await journal.append([end]);
    const endings = [
      { ended: ['t'], update: { ...ref, topics: ['t'], private: true, publisher: 'ada' } },
    ];
    expect((await readAll(journal)).map((entry) => entry.last)).toEqual([true]);
    for (let run = 0; run < 3; run++) {
      const more = Array.from({ length: 3 }, () => update('', { topics: ['u'], publisher: 'ada' }));
      await journal.append(more);
      await journal.close();
      journal = await open({ maxUpdates: 3 });
      expect(await allEndings(journal)).toEqual(endings);
      await refusesAll(journal, ['t']);
    }
    expect(await journal.locate('own')).toMatchObject({ found: false });
    await journal.append([reopening('t')]);
    await journal.close();
    journal = await open({ maxUpdates: 3 });
    expect(await allEndings(journal)).toEqual([]);
    await journal.append([update('goes on')]);
    await journal.close();
    expect(await checkJournal(path)).toMatchObject({ endings: 0, problems: [] });
  });

  test('those of its topics that were reopened go on, and those that ended anew have ended', async () => {
    let journal = await open();
    const topics = ['a', 'b', 'c', 'd', 'e'];
    await journal.append([update('end', { topics, last: true })]);
    const expected = ['a', 'b', 'c', 'd', 'e'];
    for (const act of [
      reopening('b', 'd'),
      last('d'),
      last('a', { reopen: true }),
      reopening('c', 'a'),
    ]) {
      await journal.append([act]);
      for (const topic of act.topics) {
        const at = expected.indexOf(topic);
        if (act.last && at === -1) expected.push(topic);
        if (!act.last && at !== -1) expected.splice(at, 1);
      }
      const endings = await allEndings(journal);
      await journal.close();
      journal = await open();
      expect(await allEndings(journal)).toEqual(endings);
      expect(await endedIn(journal)).toEqual(expected.sort());
    }
    await refusesAll(journal, ['d', 'e']);
    await journal.append([update('goes on', { topics: ['a', 'b', 'c'] })]);
    await journal.close();
    expect(await checkJournal(path)).toMatchObject({ endings: 2, problems: [] });
  });

  test('endings are as old as they are, and those that were forgotten stay so', async () => {
    const start = Date.now();
    const now = jest.spyOn(Date, 'now').mockReturnValue(start);
    let journal = await open();
    await journal.append([last('a')]);
    now.mockReturnValue(start + ENDING_MAX_AGE_MS / 2);
    await journal.append([last('b')]);
    await journal.close();
    now.mockReturnValue(start + ENDING_MAX_AGE_MS);
    journal = await open();
    expect(await endedIn(journal)).toEqual(['b']);
    await journal.append([update('goes on', { topics: ['a'] })]);
    await journal.close();
    expect(await checkJournal(path)).toMatchObject({ endings: 1, problems: [] });
    // What is too old has left the disk, with the first append after it.
    now.mockReturnValue(start + 3 * ENDING_MAX_AGE_MS);
    journal = await open();
    await journal.append([update('', { topics: ['b'] })]);
    await journal.close();
    expect(await checkJournal(path)).toMatchObject({ endings: 0, problems: [] });
  });

  test('what was forgotten of a flood has left the disk', async () => {
    const topicOf = (n: number): string => `${n} `.padEnd(1000, 'x');
    let journal = await open({ maxUpdates: 100 });
    for (let n = 0; n < 14_000; n += 1000) {
      const ends = Array.from({ length: 1000 }, (_, m) => last(topicOf(n + m), { data: '' }));
      await journal.append(ends);
    }
    await journal.close();
    const { endings, problems } = await checkJournal(path);
    expect(problems).toEqual([]);
    // 16 MiB of 1,470 bytes each, and what the last commit has added.
    expect(endings).toBeGreaterThan(11_400);
    expect(endings).toBeLessThan(12_500);
    expect((await stat(join(path, 'data.mdb'))).size).toBeLessThan(64 * 1024 * 1024);
    journal = await open({ maxUpdates: 100 });
    await refusesAll(journal, [topicOf(13_999)]);
    await journal.append([update('', { topics: [topicOf(0)] })]);
    await journal.close();
  }, 60_000);
});

test('reopening one topic of many writes no more than that one', async () => {
  const journal = await open();
  const topics = Array.from({ length: 100 }, (_, n) => `${n}`.padEnd(1000, '.'));
  await journal.append([update('end', { topics, last: true })]);
  await journal.append([reopening(topics[7] as string)]);
  await journal.append([reopening(topics[3] as string)]);
  await journal.close();
  const root = openLmdb({ path });
  const facts = root.openDB<Buffer, [string, number]>({ name: 'koa-sse-hub', encoding: 'binary' });
  expect(facts.get(['ending', 1])?.length).toBeGreaterThan(100_000);
  expect(facts.get(['reopened', 1])?.subarray(4).toString()).toMatch(/^\[1,"[\d-]+",\[3,7\]\]$/);
  await root.close();
});

describe('a kill of the process', () => {
  test.each(['disk', 'os'] as const)(
    'leaves a topic ended, and reopened (%s)',
    async (sync) => {
      for (const [act, ended] of [
        [update('end', { topics: ['a', 'b', 'c'], last: true }), ['a', 'b', 'c']],
        [reopening('b'), ['a', 'c']],
        [reopening('a', 'c'), []],
      ] as const) {
        const child = await processes.start(path, { sync });
        await child.append([act]);
        await child.kill();
        const journal = await open();
        expect(await endedIn(journal)).toEqual(ended);
        await refusesAll(journal, ended);
        await journal.close();
      }
    },
    60_000,
  );

  test.each(['disk', 'os'] as const)(
    'in the midst of appends leaves an ending for each last update, and none without (%s)',
    async (sync) => {
      const answered = new Map<string, EntryRef>();
      for (let round = 1; round <= 3; round++) {
        const child = await processes.start(path, { sync });
        const isEnough = 150 * round;
        await new Promise<void>((resolve) => {
          const waiting = Array.from({ length: 400 }, async (_, n) => {
            const topic = `${round} ${n}`;
            const refs = await child.append([last(topic)]).catch(() => undefined);
            if (refs === undefined) return;
            answered.set(topic, refs[0] as EntryRef);
            if (answered.size === isEnough) resolve();
          });
          Promise.all(waiting).then(() => resolve());
        });
        await child.kill();
      }
      const journal = await open();
      const held = await readAll(journal);
      const endings = await allEndings(journal);
      expect(endings.map(({ update: { position } }) => position)).toEqual(
        held.map(({ position }) => position),
      );
      expect(endings.flatMap(({ ended }) => ended)).toEqual(held.flatMap(({ topics }) => topics));
      const places = new Map(held.map(({ topics, position }) => [topics[0], position]));
      for (const [topic, { position }] of answered) expect(places.get(topic)).toBe(position);
      await journal.close();
      expect(await checkJournal(path)).toMatchObject({ endings: held.length, problems: [] });
    },
    60_000,
  );
});

describe('a full disk', () => {
  if (!canLiftFileLimit) {
    test('is not tested on this system, which cannot limit the growth of files for a while', () => {});
    return;
  }

  test('leaves no ending behind, and reopens nothing, when the update could not be written', async () => {
    const child = await processes.start(path, { maxFileKiB: 1024 });
    const full = 'x'.repeat(50_000);
    await child.append([last('ended')]);
    let n = 0;
    for (;;) {
      const error = await child.append([last(`${n}`, { data: full })]).catch((reason) => reason);
      if (error instanceof Error) {
        expect(error).toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
        break;
      }
      n++;
    }
    await expect(
      child.append([update(full, { topics: ['ended'], reopen: true })]),
    ).rejects.toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
    await liftFileLimit(child);
    await child.append([update('goes on', { topics: [`${n}`] })]);
    await expect(child.append([update('late', { topics: ['ended'] })])).rejects.toMatchObject(
      topicEnded,
    );
    const ended = ['ended', ...Array.from({ length: n }, (_, each) => `${each}`)].sort();
    await child.kill();
    const journal = await open();
    expect(await endedIn(journal)).toEqual(ended);
    await journal.close();
    expect(await checkJournal(path)).toMatchObject({ endings: n + 1, problems: [] });
  });
});

describe('a journal that remembers endings', () => {
  const all = Array.from({ length: 60 }, (_, n) => `topic ${n};`);
  const reopened = [5, 25, 45].map((n) => all[n] as string);
  const ended = all.filter((topic) => !reopened.includes(topic)).sort();

  /** The file of a closed journal with 50 endings, 10 of them of two topics, of which three have been reopened. */
  const make = async (retention = {}): Promise<Buffer> => {
    const journal = await open(retention);
    for (let n = 0; n < 40; n++) await journal.append([last(`topic ${n};`)]);
    for (let n = 40; n < 60; n += 2) {
      const topics = [`topic ${n};`, `topic ${n + 1};`];
      await journal.append([update(`end of ${n}`, { topics, last: true })]);
    }
    await journal.append([reopening(...reopened)]);
    await journal.close();
    const file = await readFile(join(path, 'data.mdb'));
    path = join(directory, `${++count}`);
    return file;
  };

  const save = async (): Promise<Journal> => {
    const saved = join(directory, `${count} saved`);
    await saveJournal(path, saved);
    return open({ path: saved });
  };

  test('is found whole by check-journal, which counts them', async () => {
    const file = await make();
    await writeJournalFile(path, file);
    const whole = { endings: 48, problems: [], damagedCount: 0 };
    expect(await checkJournal(path)).toMatchObject(whole);
    const { code, stdout } = await runCheckJournal(path);
    expect(code).toBe(0);
    expect(stdout).toMatch(/48 endings of topics are remembered/);
    const journal = await save();
    expect(await endedIn(journal)).toEqual(ended);
    await refusesAll(journal, ended);
    await journal.append([update('goes on', { topics: reopened })]);
    await journal.close();
  });

  test.each([
    ['an ending', 'topic 7;', 'topic X;'],
    ['which of its topics were reopened', '-43",[1]]', '-43",[0]]'],
  ])(
    'is not opened when %s is damaged, and says so; check-journal saves it from the updates',
    async (_, text, by) => {
      const file = await make();
      // On the pages of the facts, and not where the update has it or the index of topics.
      const facts = Buffer.from(file);
      for (let page = 0; page < file.length; page += 4096) {
        const bytes = file.subarray(page, page + 4096);
        if (bytes.includes('ending\0')) overwriteText(bytes, text, by).copy(facts, page);
      }
      await writeJournalFile(path, facts);
      await expect(open()).rejects.toMatchObject({
        code: 'ERR_JOURNAL_OPEN',
        message: expect.stringMatching(/an ending that it remembers is damaged.*check-journal/),
      });
      const problems = ['an ending that it remembers is damaged'];
      expect(await checkJournal(path)).toMatchObject({ entries: 51, damagedCount: 0, problems });
      expect(await runCheckJournal(path)).toMatchObject({ code: 1 });
      const journal = await save();
      expect(await endedIn(journal)).toEqual(ended);
      await journal.close();
    },
  );

  test('is saved without those that were damaged and whose updates are gone: these topics go on', async () => {
    const file = await make({ maxUpdates: 1 });
    await writeJournalFile(path, overwriteText(file, 'topic 7;', 'topic X;'));
    await expect(open()).rejects.toMatchObject({ code: 'ERR_JOURNAL_OPEN' });
    const journal = await save();
    expect(await endedIn(journal)).toEqual(ended.filter((topic) => topic !== 'topic 7;'));
    await journal.append([update('goes on', { topics: ['topic 7;'] })]);
    await journal.close();
  });

  test('is not opened either when the damage comes after a clean stop and leaves no trace', async () => {
    const file = await make();
    await (await open()).close();
    await writeJournalFile(path, overwriteText(file, 'topic 7;', 'topic X;'));
    await noteCleanStop(path);
    for (let n = 0; n < 2; n++) {
      await expect(open()).rejects.toMatchObject({
        code: 'ERR_JOURNAL_OPEN',
        message: expect.stringMatching(/damaged.*check-journal/),
      });
    }
  });

  test('saves endings that hang from broken pages as well, and none of topics that were reopened', async () => {
    const file = await make();
    await writeJournalFile(path, breakBranches(file));
    await expect(open()).rejects.toMatchObject({ code: 'ERR_JOURNAL_OPEN' });
    const journal = await save();
    expect(await endedIn(journal)).toEqual(ended);
    await journal.close();
  });
});

describe('a journal of format 2', () => {
  /** As the code of that format left it: it is the same but for endings. */
  const makeOld = async (format = 'koa-sse-hub journal 2'): Promise<Buffer> => {
    const journal = await open();
    for (let n = 0; n < 20; n++) await journal.append([update(`update ${n};`, { id: `${n}` })]);
    await journal.close();
    const root = openLmdb({ path, noSubdir: false, overlappingSync: false });
    const facts = root.openDB<Buffer, string>({ name: 'koa-sse-hub', encoding: 'binary' });
    expect(facts.get('format')?.subarray(4).toString()).toBe('"koa-sse-hub journal 3"');
    await facts.put('format', FACT_ENCODER.encode(format));
    await root.close();
    return readFile(join(path, 'data.mdb'));
  };

  test('is opened with all that it has, and topics can end in it from then on', async () => {
    await makeOld();
    const held = Array.from({ length: 20 }, (_, n) => `update ${n};`);
    let journal = await open();
    expect(dataOf(await readAll(journal))).toEqual(held);
    expect(await allEndings(journal)).toEqual([]);
    await journal.append([last('t')]);
    await journal.close();
    journal = await open();
    expect(await endedIn(journal)).toEqual(['t']);
    expect(dataOf(await readAll(journal))).toEqual([...held, 'end of t']);
    await journal.close();
  });

  test('is checked as one of this format is, by check-journal and before it is upgraded', async () => {
    await writeJournalFile(path, overwriteText(await makeOld(), 'update 7;', 'update X;'));
    await rm(join(path, 'journal.json'));
    expect(await checkJournal(path)).toMatchObject({
      isJournal: true,
      entries: 19,
      damagedCount: 1,
      problems: [],
    });
    const reported: number[] = [];
    const journal = await open({ onDamage: ({ total }) => reported.push(total) });
    expect(reported).toEqual([1]);
    await journal.close();
  });

  test('and one of a format to come is refused, with what this version knows', async () => {
    await makeOld('koa-sse-hub journal 4');
    await expect(open()).rejects.toMatchObject({
      code: 'ERR_JOURNAL_OPEN',
      message: expect.stringMatching(/is no journal of this version.*"koa-sse-hub journal 3"/),
    });
  });
});
