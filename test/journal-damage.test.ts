import {
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Ending, Entry, EntryRef, Journal } from '../src/journal/journal.js';
import type { DamageReport } from '../src/journal/lmdb/damage.js';
import { openLmdbJournal } from '../src/journal/lmdb/lmdb.js';
import { checkJournal, saveJournal } from '../src/journal/lmdb/save.js';
import {
  allEndings,
  dataOf,
  KEEP_ALL,
  NO_LIMIT,
  readAll,
  update,
} from './support/journal-contract.js';
import {
  breakBranches,
  overwriteText,
  runCheckJournal,
  runNode,
  writeJournalFile,
} from './support/journal-file.js';
import { buildJournalProcess, temporaryDirectory } from './support/journal-process.js';

let directory: string;
let path: string;
let count = 0;
let processes: Awaited<ReturnType<typeof buildJournalProcess>>;
/** A journal of some hundred updates, what it holds and remembers, what was answered to appends under keys, and its file. */
let original: {
  path: string;
  entries: readonly Entry[];
  keyed: readonly EntryRef[];
  endings: readonly Ending[];
  file: Buffer;
};

beforeAll(async () => {
  [directory, processes] = await Promise.all([temporaryDirectory(), buildJournalProcess()]);
  original = await makeOriginal();
});

beforeEach(() => {
  path = join(directory, `${++count}`);
});

afterAll(async () => {
  await processes.remove();
  await rm(directory, { recursive: true });
});

type Options = Parameters<typeof openLmdbJournal>[0];
const open = (rest: Partial<Options> = {}): Promise<Journal> =>
  openLmdbJournal({ path, sync: 'os', ...KEEP_ALL, ...rest });

describe('random bytes in the file', () => {
  test('never end the process, and are never followed by fewer or other updates or endings, or another answer to a repeat, without a word', async () => {
    const seed = Number(process.env.DAMAGE_SEED ?? 1);
    const variants = Array.from({ length: 48 }, (_, n) => seed * 1000 + n);
    const copies = variants.map((variant) => join(directory, `variant ${variant}`));
    for (const [index, copy] of copies.entries()) {
      await writeJournalFile(copy, scribble(original.file, variants[index] as number));
    }
    const { stdout } = await runNode([
      'test/support/damage-child.mjs',
      `${original.keyed.length}`,
      ...copies,
    ]);
    const results = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect({ seed, replayed: results.length }).toEqual({ seed, replayed: variants.length });

    const outcomes = { whole: 0, reported: 0, refused: 0 };
    const held = new Map(original.entries.map((entry) => [entry.position, asSent(entry)]));
    for (const [
      index,
      { refused, reads, repeats, endings, reported, failed },
    ] of results.entries()) {
      const variant = variants[index];
      expect({ variant, failed }).toEqual({ variant, failed: undefined });
      if (refused) {
        expect({ variant, ...refused }).toMatchObject({ variant, code: 'ERR_JOURNAL_OPEN' });
        outcomes.refused++;
        continue;
      }
      outcomes[reported > 0 ? 'reported' : 'whole']++;
      expect({ variant, repeats }).toEqual({ variant, repeats: original.keyed });
      expect({ variant, endings }).toEqual({ variant, endings: original.endings });
      for (const { topics, entries, damaged } of reads) {
        for (const entry of entries) expect(entry).toEqual(held.get(entry.position));
        const all = original.entries.filter((entry) => !topics || entry.topics.includes(topics[0]));
        const isTold = damaged === true && reported > 0;
        if (entries.length < all.length) {
          expect({ variant, topics, isTold }).toEqual({ variant, topics, isTold: true });
        }
      }
    }
    // Each of them was seen: the bytes reach what they should.
    for (const times of Object.values(outcomes)) expect(times).toBeGreaterThan(0);
  }, 60_000);
});

describe('a damaged update', () => {
  test('is left out and told of, when the journal is opened and to those who read it', async () => {
    const reports: DamageReport[] = [];
    await writeJournalFile(path, overwriteText(original.file, 'update 7;', 'update X;'));
    const journal = await open({ onDamage: (report) => reports.push(report) });
    const position = positionOf('update 7;');
    expect(reports).toEqual([{ positions: [position], count: 1, total: 1 }]);
    const all = await journal.read(NO_LIMIT);
    expect(all.damaged).toBe(true);
    expect(dataOf(all.entries)).toEqual(
      dataOf(original.entries).filter((data) => !data.startsWith('update 7;')),
    );
    // It has topic u0, and others cannot have missed it.
    expect((await journal.read({ ...NO_LIMIT, topics: ['u0'] })).damaged).toBe(true);
    expect((await journal.read({ ...NO_LIMIT, topics: ['u1'] })).damaged).toBeUndefined();
    expect((await journal.read({ ...NO_LIMIT, after: position })).damaged).toBeUndefined();
    expect(reports).toHaveLength(1);
    await journal.close();
  });

  test('is trimmed as the others are, after which the journal is whole again', async () => {
    await writeJournalFile(path, overwriteText(original.file, 'update 7;', 'update X;'));
    let journal = await open({ maxUpdates: 5 });
    for (let n = 0; n < 5; n++) await journal.append([update(`new ${n}`)]);
    expect(dataOf(await readAll(journal))).toEqual(['new 0', 'new 1', 'new 2', 'new 3', 'new 4']);
    expect((await journal.read({ ...NO_LIMIT, topics: ['u0'] })).damaged).toBeUndefined();
    await journal.close();
    await rm(join(path, 'journal.json'));
    const reports: DamageReport[] = [];
    journal = await open({ maxUpdates: 5, onDamage: (report) => reports.push(report) });
    expect(reports).toEqual([]);
    await journal.close();
  });
});

describe('a file that is no longer what it was', () => {
  test.each([
    ['emptied', (file: string) => truncate(file, 0)],
    ['removed', (file: string) => rm(file)],
  ])('is not taken for a new journal when it has been %s', async (_, harm) => {
    await (await open()).close();
    await harm(join(path, 'data.mdb'));
    await expect(open()).rejects.toMatchObject({
      code: 'ERR_JOURNAL_OPEN',
      message: expect.stringMatching(/has lost its updates.*remove the directory to begin anew/),
    });
    await rm(path, { recursive: true });
    await (await open()).close();
  });

  test('is checked after a clean stop too, if anything has changed it since', async () => {
    const journal = await open();
    await journal.append([update('some text')]);
    await journal.close();
    const file = join(path, 'data.mdb');
    const { atime, mtime } = await stat(file);
    const bytes = await readFile(file);
    await writeFile(file, overwriteText(bytes, 'some text', 'sXme text'));
    await utimes(file, atime, mtime);
    const reports: DamageReport[] = [];
    await (await open({ onDamage: (report) => reports.push(report) })).close();
    expect(reports).toMatchObject([{ count: 1 }]);
  });
});

describe('a directory that goes away under an open journal', () => {
  const unavailable = {
    code: 'ERR_JOURNAL_UNAVAILABLE',
    message: expect.stringMatching(/has been removed or replaced.*Restart this process/),
  };

  test.each([
    ['removed', async () => rm(path, { recursive: true })],
    ['moved', async () => rename(path, `${path} moved`)],
    [
      'replaced by a copy',
      async () => {
        await rename(path, `${path} moved`);
        await mkdir(path);
        await cp(join(`${path} moved`, 'data.mdb'), join(path, 'data.mdb'));
      },
    ],
    ['robbed of what keeps others out', async () => rm(join(path, 'owner.1'))],
  ])('acknowledges nothing once it is %s', async (_, harm) => {
    const journal = await open();
    await journal.append([update('before')]);
    await harm();
    await expect(journal.append([update('after')])).rejects.toMatchObject(unavailable);
    await expect(journal.ping()).rejects.toMatchObject(unavailable);
    await journal.close();
  });

  test('goes on refusing when another process has made it anew', async () => {
    const journal = await open();
    await rm(path, { recursive: true });
    const other = await processes.start(path);
    await other.append([update('of the other')]);
    await expect(journal.append([update('lost')])).rejects.toMatchObject(unavailable);
    await other.kill();
    await expect(journal.append([update('lost')])).rejects.toMatchObject(unavailable);
    await journal.close();
    const next = await open();
    expect(dataOf(await readAll(next))).toEqual(['of the other']);
    await next.close();
  });

  test('does not end the process when its file is cut off: reading and appending are refused', async () => {
    await writeJournalFile(path, original.file);
    const child = await processes.start(path);
    await truncate(join(path, 'data.mdb'), 8192);
    const refused = {
      code: 'ERR_JOURNAL_UNAVAILABLE',
      message: expect.stringMatching(/has been cut off/),
    };
    await expect(child.call('read', NO_LIMIT)).rejects.toMatchObject(refused);
    await expect(child.append([update('a')])).rejects.toMatchObject(refused);
    await child.kill();
  });
});

describe('check-journal', () => {
  test('says that all is whole, and changes nothing', async () => {
    await writeJournalFile(path, original.file);
    expect(await checkJournal(path)).toMatchObject({
      isJournal: true,
      entries: original.entries.length,
      first: original.entries[0]?.position,
      last: original.entries.at(-1)?.position,
      damagedCount: 0,
      problems: [],
    });
    expect((await readFile(join(path, 'data.mdb'))).equals(original.file)).toBe(true);
    expect(await readdir(path)).toEqual(['data.mdb']);
  });

  test('saves what is whole, with positions and ids, and a gap for those who missed the rest', async () => {
    await writeJournalFile(path, overwriteText(original.file, 'update 7;', 'update X;'));
    const lost = positionOf('update 7;');
    const saved = join(directory, `${count} saved`);
    expect(await saveJournal(path, saved)).toEqual({
      entries: original.entries.length - 1,
      lostThrough: lost,
    });
    const journal = await open({ path: saved });
    const entries = await readAll(journal);
    expect(entries).toEqual(original.entries.filter(({ position }) => position !== lost));
    const [first, last] = [entries[0] as Entry, entries.at(-1) as Entry];
    expect((await journal.read({ ...NO_LIMIT, after: first.position })).trimmed).toBe(true);
    expect((await journal.read({ ...NO_LIMIT, after: last.position })).trimmed).toBe(false);
    expect(await journal.locate(first.position)).toEqual({ found: true, position: first.position });
    expect(await journal.locate('own 10')).toMatchObject({ found: true });
    await journal.close();
  });

  test('saves what hangs from broken pages as well', async () => {
    await writeJournalFile(path, breakBranches(original.file));
    await expect(open()).rejects.toMatchObject({
      code: 'ERR_JOURNAL_OPEN',
      message: expect.stringMatching(/is damaged \(page \d+.*koa-sse-hub check-journal/),
    });
    const saved = join(directory, `${count} saved`);
    await saveJournal(path, saved);
    const journal = await open({ path: saved });
    const held = new Set((await readAll(journal)).map(({ position }) => position));
    expect(original.entries.filter(({ position }) => !held.has(position))).toEqual([]);
    await journal.close();
  });

  test('is a command, whose exit code says whether all is whole', async () => {
    await writeJournalFile(path, original.file);
    expect(await runCheckJournal(path)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`${original.entries.length} updates are whole`),
    });
    await writeJournalFile(path, overwriteText(original.file, 'update 7;', 'update X;'));
    expect(await runCheckJournal(path)).toMatchObject({
      code: 1,
      stdout: expect.stringContaining(`1 updates are damaged: ${positionOf('update 7;')}`),
    });
    expect(await runCheckJournal()).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Usage/),
    });
  });

  test('refuses a directory that is in use, no journal, or not there, and a full one to save in', async () => {
    const refused = (message: RegExp) => ({
      code: 'ERR_JOURNAL_OPEN',
      message: expect.stringMatching(message),
    });
    await expect(checkJournal(path)).rejects.toMatchObject(refused(/is not there/));
    const journal = await open();
    await expect(checkJournal(path)).rejects.toMatchObject(refused(/in use/));
    await journal.close();
    await expect(saveJournal(path, path)).rejects.toMatchObject(refused(/not empty/));
    await writeFile(join(path, 'data.mdb'), 'some text');
    expect(await checkJournal(path)).toMatchObject({ isJournal: false });
  });
});

async function makeOriginal(): Promise<typeof original> {
  path = join(directory, 'original');
  const journal = await open({ maxUpdates: 400 });
  const keyed: EntryRef[] = [];
  for (let n = -200; n < 300; n += 20) {
    for (let m = 0; m < 4; m++) {
      const under = { key: { key: `key ${keyed.length}`, digest: 'd' } };
      keyed.push(...(await journal.append([update(`under key ${keyed.length}`)], under)));
    }
    const topics = [`ended ${n}`, `reopened ${n}`];
    await journal.append([update('end', { topics, last: true })]);
    await journal.append([update('again', { topics: topics.slice(1), reopen: true })]);
    await journal.append(
      Array.from({ length: 20 }, (_, m) =>
        update(`update ${n + m};${'x'.repeat(m === 3 ? 9000 : 60)}`, {
          topics: ['t', `u${(n + m) % 7}`],
          ...(m % 10 === 0 ? { id: `own ${n + m}` } : {}),
        }),
      ),
    );
  }
  const entries = await readAll(journal);
  const endings = await allEndings(journal);
  await journal.close();
  return { path, entries, keyed, endings, file: await readFile(join(path, 'data.mdb')) };
}

/** Random bytes at random places; the same ones for the same seed. */
function scribble(file: Buffer, seed: number): Buffer {
  const bytes = Buffer.from(file);
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const length = [1, 4, 64, 512, 4096][random(5)] as number;
  for (let times = [1, 1, 8][random(3)] as number; times > 0; times--) {
    const at = random(bytes.length);
    for (let n = at; n < Math.min(at + length, bytes.length); n++) bytes[n] = random(256);
  }
  return bytes;
}

function positionOf(data: string): string {
  return original.entries.find((entry) => entry.data.startsWith(data))?.position ?? '';
}

/** As JSON gives it back. */
function asSent(entry: Entry): unknown {
  return JSON.parse(JSON.stringify(entry));
}
