import { randomBytes } from 'node:crypto';
import {
  chmod,
  chown,
  mkdir,
  open as openFile,
  readdir,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { open as openLmdb } from 'lmdb';
import {
  comparePositions,
  type EntryRef,
  type Journal,
  type Retention,
  type Update,
} from '../src/journal/journal.js';
import { FACT_ENCODER } from '../src/journal/lmdb/entry.js';
import { openLmdbJournal } from '../src/journal/lmdb/lmdb.js';
import { checkJournal } from '../src/journal/lmdb/save.js';
import { DISK_OVERHEAD } from '../src/journal/retention.js';
import {
  allTopics,
  dataOf,
  KEEP_ALL,
  NO_LIMIT,
  newestOf,
  readAll,
  setClock,
  testContract,
  until,
  update,
} from './support/journal-contract.js';
import {
  buildJournalProcess,
  canLiftFileLimit,
  type JournalProcess,
  liftFileLimit,
  temporaryDirectory,
} from './support/journal-process.js';

let directory: string;
let path: string;
let count = 0;
let processes: Awaited<ReturnType<typeof buildJournalProcess>>;

beforeAll(async () => {
  [directory, processes] = await Promise.all([temporaryDirectory(), buildJournalProcess()]);
  await chmod(directory, 0o755);
});

beforeEach(() => {
  path = join(directory, `${++count}`);
});

afterAll(async () => {
  await processes.remove();
  await rm(directory, { recursive: true });
});

const open = (rest: Partial<Retention & { sync: 'disk' | 'os' }> = {}): Promise<Journal> =>
  openLmdbJournal({ path, sync: 'disk', ...KEEP_ALL, ...rest });

const openNew = (retention: Retention): Promise<Journal> =>
  openLmdbJournal({ path: join(directory, `${++count}`), sync: 'os', ...retention });

testContract({ open: openNew, overhead: DISK_OVERHEAD, setClock });

describe('a restart', () => {
  test('keeps entries, ids, topics and what was trimmed', async () => {
    let journal = await open({ maxUpdates: 3 });
    const refs: EntryRef[] = [];
    for (const data of ['a', 'b', 'c', 'd', 'e']) {
      refs.push(
        ...(await journal.append([update(data, { id: `id ${data}`, topics: [data, 't'] })])),
      );
    }
    const before = await snapshot(journal, refs);
    await journal.close();
    journal = await open({ maxUpdates: 3 });
    expect(await snapshot(journal, refs)).toEqual(before);
    const again = await journal.append([update('e', { id: 'id e', topics: ['e', 't'] })]);
    expect(again).toEqual([refs[4]]);
    await expect(journal.append([update('other', { id: 'id e' })])).rejects.toMatchObject({
      code: 'ERR_ID_TAKEN',
    });
    await journal.close();
  });

  test.each([
    ['of a few topics', 3, 200],
    ['of more topics than are known apart', 11_000, 11_000],
  ])('keeps which topics a flood %s was trimmed of', async (_, topics, count) => {
    const limits = { maxUpdates: 20, sync: 'os' } as const;
    let journal = await open(limits);
    const [bob] = await journal.append([update('', { publisher: 'bob' })]);
    const flood = async (from: number, to: number): Promise<EntryRef[]> => {
      const some = Array.from({ length: to - from }, (_, n) =>
        update('', { publisher: 'ada', topics: [`topic ${(from + n) % topics}`] }),
      );
      const refs = await journal.append(some);
      await until(async () => (await readAll(journal)).length <= 20);
      return [...refs];
    };
    const refs = [...(await flood(0, count / 2)), ...(await flood(count / 2, count))];
    const told = async () => {
      const positions = [bob, ...refs.filter((_, n) => n % (count / 10) === 5)] as EntryRef[];
      const lists = positions.map(({ position }) => journal.trimmedTopics(position));
      return (await Promise.all(lists)).map((list) => list?.map(({ topic }) => topic).sort());
    };
    const before = await told();
    expect(before[0]).toEqual(topics === 3 ? ['topic 0', 'topic 1', 'topic 2'] : undefined);
    expect(before.at(-1)).toBeDefined();
    for (let n = 0; n < 2; n++) {
      await journal.close();
      journal = await open(limits);
      expect(await told()).toEqual(before);
    }
    // It goes on from there.
    const more = await flood(0, 200);
    expect(await journal.trimmedTopics(more[199]?.position as string)).toEqual([]);
    expect(await journal.trimmedTopics(refs.at(-1)?.position as string, ['t'])).toEqual([]);
    expect(await journal.trimmedTopics(refs.at(-1)?.position as string, ['topic 0'])).toHaveLength(
      1,
    );
    await journal.close();
    expect((await checkJournal(path)).problems).toEqual([]);
  });

  test('of a journal of an earlier build tells all that come from before what was trimmed', async () => {
    let journal = await open({ maxUpdates: 20 });
    const [bob] = await journal.append([update('', { publisher: 'bob' })]);
    const refs = await journal.append(
      Array.from({ length: 100 }, () => update('', { publisher: 'ada', topics: ['a'] })),
    );
    await until(async () => (await readAll(journal)).length <= 20);
    await journal.close();
    const root = openLmdb({ path });
    const byFact = { encoder: FACT_ENCODER };
    const facts = root.openDB<unknown, string[]>({ name: 'koa-sse-hub', ...byFact });
    await facts.remove(['trimmed topic', 0 as never]);
    await facts.put(['state'], (facts.get(['state']) as unknown[]).slice(0, 7));
    await root.close();
    journal = await open({ maxUpdates: 20 });
    expect(await journal.trimmedTopics(bob?.position as string, ['t'])).toBeUndefined();
    expect(await journal.trimmedTopics(refs[80]?.position as string, ['t'])).toEqual([]);
    expect(await journal.locate(refs[0]?.id as string)).toEqual({
      found: false,
      reason: 'trimmed',
    });
    await journal.close();
  });

  test('gives later positions than all before, also when the clock has been set back', async () => {
    const refs: EntryRef[] = [];
    const start = Date.now();
    const now = jest.spyOn(Date, 'now');
    for (const clock of [start, start, start - 1_000_000, start - 5, start + 1_000_000, start]) {
      now.mockReturnValue(clock);
      const journal = await open({ maxUpdates: 2 });
      refs.push(...(await journal.append([update(`${clock}`), update('too')])));
      await journal.close();
    }
    now.mockRestore();
    for (const [index, { position }] of refs.slice(1).entries()) {
      expect(comparePositions((refs[index] as EntryRef).position, position)).toBeLessThan(0);
    }
  });

  test('knows the cursors of every run before, and no others', async () => {
    const start = Date.now() - 1_000_000;
    const now = jest.spyOn(Date, 'now');
    const ids: string[] = [];
    for (const run of [0, 1, 2]) {
      now.mockReturnValue(start + run * 1000);
      const journal = await open({ maxUpdates: 1 });
      ids.push(...(await journal.append([update('a')])).map(({ id }) => id));
      await journal.close();
    }
    const journal = await open({ maxUpdates: 1 });
    now.mockRestore();
    const where = (id: string) => journal.locate(id);
    expect(await where(ids[0] as string)).toEqual({ found: false, reason: 'trimmed' });
    expect(await where(ids[1] as string)).toEqual({ found: true, position: ids[1] });
    expect(await where(ids[2] as string)).toEqual({ found: true, position: ids[2] });
    for (const between of [`${start - 1}-1`, `${start + 500}-1`, `${start + 1500}-1`]) {
      expect(await where(between)).toEqual({ found: false, reason: 'unknown' });
    }
    await journal.close();
  });

  test('with a lower limit trims all that is beyond it, while appends go on', async () => {
    let journal = await open({ sync: 'os' });
    for (let n = 0; n < 5000; n += 1000) {
      await journal.append(Array.from({ length: 1000 }, (_, m) => update(`${n + m}`)));
    }
    await journal.close();
    journal = await open({ sync: 'os', maxUpdates: 10 });
    for (let n = 0; n < 5; n++) await journal.append([update(`new ${n}`)]);
    // In small steps: appends did not wait for all of it.
    expect((await readAll(journal)).length).toBeGreaterThan(1000);
    await until(async () => (await readAll(journal)).length <= 10);
    expect(dataOf(await readAll(journal, { topics: ['t'] })).slice(-6)).toEqual([
      '4999',
      'new 0',
      'new 1',
      'new 2',
      'new 3',
      'new 4',
    ]);
    await journal.close();
  });

  test('knows what each publisher holds, in updates and in bytes', async () => {
    for (const limits of [{ maxUpdates: 20 }, { maxBytes: 20 * 1251 }]) {
      path = join(directory, `${++count}`);
      const ofAda = update('x'.repeat(1000), { publisher: 'ada' });
      let journal = await open(limits);
      await journal.append(Array.from({ length: 5 }, () => ({ ...ofAda, publisher: 'bob' })));
      await journal.append(Array.from({ length: 15 }, () => ofAda));
      for (let run = 0; run < 4; run++) {
        await journal.close();
        journal = await open(limits);
        for (let n = 0; n < 10; n++) await journal.append([ofAda]);
      }
      const publishers = (await readAll(journal)).map(({ publisher }) => publisher);
      expect(publishers.filter((name) => name === 'bob')).toHaveLength(5);
      expect(publishers.filter((name) => name === 'ada')).toHaveLength(15);
      await journal.close();
    }
  });

  test('with a lower limit trims first of the publisher that has most', async () => {
    let journal = await open();
    for (const publisher of ['bob', 'ada']) {
      const length = publisher === 'ada' ? 500 : 5;
      await journal.append(Array.from({ length }, () => update('', { publisher })));
    }
    await journal.close();
    journal = await open({ maxUpdates: 20 });
    await until(async () => (await readAll(journal)).length <= 20);
    const publishers = (await readAll(journal)).map(({ publisher }) => publisher);
    expect(publishers.filter((name) => name === 'bob')).toHaveLength(5);
    await journal.close();
  });

  test('knows the transient updates, and what was trimmed of them', async () => {
    let journal = await open({ maxUpdates: 5, maxTransient: 3 });
    const [first] = await journal.append(Array.from({ length: 5 }, (_, n) => update(`${n}`)));
    for (let run = 0; run < 3; run++) {
      for (let n = 0; n < 5; n++) await journal.append([update(`${n}`, { transient: true })]);
      await journal.close();
      journal = await open({ maxUpdates: 5, maxTransient: 3 });
    }
    expect(dataOf(await readAll(journal))).toEqual(['0', '1', '2', '3', '4', '2', '3', '4']);
    expect(await journal.read({ ...NO_LIMIT, after: first?.position })).toMatchObject({
      trimmed: false,
      trimmedTransient: true,
    });
    await journal.close();
  });

  test('keeps own ids in their scopes', async () => {
    let journal = await open();
    const inScope = (scope: string, data: string) => update(data, { id: 'x', scope });
    const [a] = await journal.append([inScope('a', 'one')]);
    const [b] = await journal.append([inScope('b', 'two')]);
    await journal.close();
    journal = await open();
    expect(await journal.append([inScope('b', 'two'), inScope('a', 'one')])).toEqual([b, a]);
    await expect(journal.append([inScope('b', 'one')])).rejects.toThrow(/"x"/);
    await journal.close();
  });

  test('does not mistake ages after a clock that was ahead, or behind, before it', async () => {
    const start = Date.now();
    const day = 86_400_000;
    for (const wrong of [day, -day]) {
      path = join(directory, `${++count}`);
      const now = jest.spyOn(Date, 'now').mockReturnValue(start);
      let journal = await open({ maxAgeMs: 3_600_000 });
      await journal.append([update('first')]);
      const restartAt = async (ms: number, data: string): Promise<string[]> => {
        await journal.close();
        now.mockReturnValue(start + ms);
        journal = await open({ maxAgeMs: 3_600_000 });
        await journal.append([update(data)]);
        return dataOf(await readAll(journal));
      };
      // A leap ahead cannot be told from a day without power; one back is.
      const first = wrong > 0 ? [] : ['first'];
      expect(await restartAt(wrong, 'wrong')).toEqual([...first, 'wrong']);
      expect(await restartAt(60_000, 'right')).toEqual([...first, 'wrong', 'right']);
      expect(await restartAt(3_700_000, 'late')).toEqual(['late']);
      await journal.close();
      now.mockRestore();
    }
  });

  test('does not look at the entries: with many it is far quicker than to read them', async () => {
    let journal = await open({ sync: 'os' });
    for (let n = 0; n < 100; n++) {
      await journal.append(Array.from({ length: 1000 }, () => update('x'.repeat(100))));
    }
    const time = async (act: () => Promise<unknown>): Promise<number> => {
      const start = performance.now();
      await act();
      return performance.now() - start;
    };
    const reading = await time(() => readAll(journal));
    const openings: number[] = [];
    for (let n = 0; n < 5; n++) {
      await journal.close();
      openings.push(
        await time(async () => {
          journal = await open({ sync: 'os' });
        }),
      );
    }
    expect(Math.min(...openings)).toBeLessThan(reading / 5);
    await journal.close();
  });
});

describe('a kill of the process', () => {
  test.each(['disk', 'os'] as const)(
    'in the midst of appends loses none that was acknowledged (%s)',
    async (sync) => {
      const acknowledged: { ref: EntryRef; data: string }[] = [];
      for (let round = 0; round < 4; round++) {
        const child = await processes.start(path, { sync });
        // Some calls of several updates, which are to be there whole or not at all.
        const calls = Array.from({ length: 3000 }, (_, n) =>
          n % 10 === 0
            ? ['1/3', '2/3', '3/3'].map((part) => `${round}.${n} ${part}`)
            : [`${round}.${n}`],
        );
        let answered = 0;
        await new Promise<void>((resolve) => {
          for (const call of calls) {
            child.append(call.map((data) => update(data))).then(
              (refs) => {
                refs.forEach((ref, index) => {
                  acknowledged.push({ ref, data: call[index] as string });
                });
                if (++answered === 100 * (round + 1)) resolve();
              },
              () => {},
            );
          }
        });
        await child.kill();
      }

      const journal = await open({ sync });
      const entries = await readAll(journal);
      const held = new Map(entries.map(({ position, data }) => [position, data]));
      for (const { ref, data } of acknowledged) expect(held.get(ref.position)).toBe(data);
      const parts = dataOf(entries).filter((data) => data.endsWith('/3'));
      expect(parts.length % 3).toBe(0);
      expect(dataOf(await readAll(journal, { topics: ['t'] }))).toEqual(dataOf(entries));
      const [after] = await journal.append([update('after')]);
      expect(
        entries.every(({ position }) => comparePositions(position, after?.position ?? '') < 0),
      ).toBe(true);
      await journal.close();
    },
  );
});

describe('an open journal', () => {
  test('is refused to a second process and to this one, until it is closed', async () => {
    const journal = await open();
    const inUse = { code: 'ERR_JOURNAL_OPEN', message: expect.stringMatching(/in use/) };
    await expect(open()).rejects.toMatchObject(inUse);
    await expect(processes.start(path)).rejects.toMatchObject(inUse);
    await journal.append([update('unharmed')]);
    await journal.close();
    const child = await processes.start(path);
    await expect(open()).rejects.toMatchObject(inUse);
    await child.kill();
    const next = await open();
    expect(dataOf(await readAll(next))).toEqual(['unharmed']);
    await next.close();
  });

  test('is had by one of many that want it at once after a kill', async () => {
    const child = await processes.start(path);
    await child.kill();
    const results = await Promise.allSettled(Array.from({ length: 30 }, () => open()));
    const journals = results.flatMap((result) =>
      result.status === 'fulfilled' ? [result.value] : [],
    );
    expect(journals).toHaveLength(1);
    await journals[0]?.close();
    expect(await readdir(path)).toEqual(['data.mdb', 'journal.json', 'lock.mdb', 'owner.2']);
  });

  test('may have a path longer than a socket can', async () => {
    path = join(path, 'deep'.repeat(20), 'deeper'.repeat(20));
    const journal = await open();
    await expect(open()).rejects.toThrow(/in use/);
    await journal.append([update('a')]);
    await journal.close();
    const again = await open();
    expect(dataOf(await readAll(again))).toEqual(['a']);
    await again.close();
  });

  test('shares commits among concurrent appends, and makes one for each alone', async () => {
    const commitsOf = async (act: (journal: Journal) => Promise<unknown>): Promise<number> => {
      const before = await lastTransaction();
      const journal = await open();
      await act(journal);
      await journal.close();
      return (await lastTransaction()) - before;
    };
    await (await open()).close();
    const toOpen = await commitsOf(async () => {});
    const together = await commitsOf((journal) =>
      Promise.all(Array.from({ length: 1000 }, (_, n) => journal.append([update(`${n}`)]))),
    );
    expect(together - toOpen).toBeLessThanOrEqual(5);
    const alone = await commitsOf(async (journal) => {
      for (let n = 0; n < 20; n++) await journal.append([update(`${n}`)]);
    });
    expect(alone - toOpen).toBe(20);
    const pings = await commitsOf(async (journal) => {
      for (let n = 0; n < 3; n++) await journal.ping();
    });
    expect(pings - toOpen).toBe(3);
  });

  test('refuses a topic or id that is too long, and nothing else', async () => {
    const journal = await open();
    const results = await Promise.allSettled([
      journal.append([update('a')]),
      journal.append([update('with it'), update('b', { topics: ['x'.repeat(1025)] })]),
      journal.append([update('with it'), update('c', { id: 'é'.repeat(600) })]),
      journal.append([update('d', { topics: [''] })]),
      journal.append([update('e')]),
    ]);
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
      'fulfilled',
    ]);
    expect(dataOf(await readAll(journal))).toEqual(['a', 'e']);
    await journal.close();
  });
});

describe('a full disk', () => {
  if (!canLiftFileLimit) {
    test('is not tested on this system, which cannot limit the growth of files for a while', () => {});
    return;
  }

  test.each(['disk', 'os'] as const)(
    'refuses appends, shows nothing of them, and is survived (%s)',
    async (sync) => {
      const child = await processes.start(path, { sync, maxFileKiB: 2048 });
      const accepted: string[] = [];
      const batch = (n: number): Update[] => [
        update(`${n}: ${'x'.repeat(20_000)}`),
        update(`${n} too`, { id: `id ${n}` }),
      ];
      const tryAppend = async (n: number): Promise<boolean> => {
        try {
          await child.append(batch(n));
        } catch (error) {
          expect(error).toMatchObject({
            code: 'ERR_JOURNAL_UNAVAILABLE',
            message: expect.stringMatching(/room/),
          });
          return false;
        }
        accepted.push(...batch(n).map(({ data }) => data));
        return true;
      };
      let n = 0;
      while (await tryAppend(n)) n++;
      // Some more at once, of which none or few find room.
      await Promise.all(Array.from({ length: 20 }, (_, more) => tryAppend(n + 1 + more)));
      const read = async (): Promise<string[]> => {
        const { entries } = (await child.call('read', NO_LIMIT)) as { entries: { data: string }[] };
        return entries.map(({ data }) => data);
      };
      expect(await read()).toEqual(accepted);
      expect(await child.call('locate', `id ${n}`)).toEqual({ found: false, reason: 'unknown' });

      await liftFileLimit(child);
      await child.call('ping');
      expect(await tryAppend(n)).toBe(true);
      expect(await read()).toEqual(accepted);
      await child.kill();
      const journal = await open({ sync });
      expect(dataOf(await readAll(journal))).toEqual(accepted);
      await journal.close();
    },
  );
});

describe('is not opened, and says why', () => {
  const refusal = async (): Promise<string> => {
    const error = await open().then(
      () => undefined,
      (reason) => reason,
    );
    expect(error).toMatchObject({ name: 'JournalError', code: 'ERR_JOURNAL_OPEN' });
    expect(error.message).toContain(path);
    return error.message;
  };

  const make = async (): Promise<string> => {
    const journal = await open({ sync: 'os' });
    for (let n = 0; n < 20; n++) await journal.append([update('x'.repeat(1_000_000))]);
    await journal.close();
    return join(path, 'data.mdb');
  };

  test('if the path is a file', async () => {
    await writeFile(path, '');
    expect(await refusal()).toMatch(/is not a directory/);
    path = join(path, 'below');
    expect(await refusal()).toMatch(/is not a directory/);
  });

  test('if this user may not make the directory, or not write in it', async () => {
    // The superuser may do anything, so that another one has to try.
    const isRoot = process.getuid?.() === 0;
    const user = isRoot ? { uid: 65534 } : {};
    const tryToOpen = (below: string): Promise<JournalProcess> => processes.start(below, user);
    await mkdir(path, { mode: 0o555 });
    const denied = {
      code: 'ERR_JOURNAL_OPEN',
      message: expect.stringMatching(/permission denied/),
    };
    await expect(tryToOpen(join(path, 'below'))).rejects.toMatchObject(denied);
    await expect(tryToOpen(path)).rejects.toMatchObject(denied);
    await chmod(path, 0o755);
  });

  test('if its files are not for this user', async () => {
    await make();
    const user = process.getuid?.() === 0 ? { uid: 65534 } : {};
    if (user.uid) {
      for (const name of ['.', ...(await readdir(path))]) {
        await chown(join(path, name), user.uid, user.uid);
      }
    }
    for (const name of ['lock.mdb', 'data.mdb']) {
      await chmod(join(path, name), 0o000);
      await expect(processes.start(path, user)).rejects.toMatchObject({
        code: 'ERR_JOURNAL_OPEN',
        message: expect.stringMatching(`let this user read and write its ${name}`),
      });
      await chmod(join(path, name), 0o666);
    }
  });

  test.each([
    ['is text', async (file: string) => writeFile(file, 'some text')],
    ['is random', async (file: string) => writeFile(file, randomBytes(100_000))],
    ['is only a beginning', async (file: string) => truncate(file, 10)],
    ['has lost its first page', (file: string) => overwrite(file, 0, 4096)],
    ['has lost its second page', (file: string) => overwrite(file, 4096, 4096)],
    ['has lost its first pages', (file: string) => overwrite(file, 0, 65_536)],
  ])('if its file %s', async (_, damage) => {
    await damage(await make());
    expect(await refusal()).toMatch(
      /is damaged, or its data\.mdb is something else; restore or remove/,
    );
  });

  test.each([0.1, 0.5, 0.9])('if its file has been cut off (at %s of it)', async (part) => {
    const file = await make();
    await truncate(file, Math.floor((await stat(file)).size * part));
    expect(await refusal()).toMatch(/is damaged: \d+ bytes are missing; restore or remove/);
  });

  test.each([
    ['values', (root: ReturnType<typeof openLmdb>) => root.put('key', 'value')],
    ['databases', (root: ReturnType<typeof openLmdb>) => root.openDB({ name: 'x' }).put('key', 1)],
    [
      'a journal of another version',
      (root: ReturnType<typeof openLmdb>) =>
        root.openDB({ name: 'koa-sse-hub' }).put('format', 'koa-sse-hub journal 0'),
    ],
  ])('if it is an LMDB of another kind, with %s', async (_, fill) => {
    const root = openLmdb({ path, noSubdir: false });
    await fill(root);
    await root.close();
    expect(await refusal()).toMatch(/is no journal of this version.*leave it to what made it/);
  });

  test('after which it can be opened once the reason is gone', async () => {
    await writeFile(path, '');
    await refusal();
    await rm(path);
    const journal = await open();
    await journal.append([update('a')]);
    await journal.close();
  });
});

describe('a journal of format 1', () => {
  /** As the code of that format made it: own ids with one place each, no ledger, nothing of publishers. */
  const makeOld = async (newest: number): Promise<void> => {
    const root = openLmdb({ path, noSubdir: false });
    const byText = { keyEncoding: 'binary', encoding: 'ordered-binary' } as const;
    const entries = root.openDB({ name: 'entries' });
    const topics = root.openDB({ name: 'topics', dupSort: true, ...byText });
    const ids = root.openDB({ name: 'ids', ...byText });
    const place = (n: number) => [1_700_000_000_000, n];
    await root.batch(() => {
      for (let n = 3; n <= newest; n++) {
        const ownId = n % 2 ? `id ${n}` : null;
        const stamp = n === 4 ? Date.now() + 86_400_000 : Date.now() - 1000;
        entries.put(place(n), [stamp, ['t', `t${n % 10}`], `${n}`, n % 3 === 0, null, 5, ownId]);
        for (const topic of ['t', `t${n % 10}`]) topics.put(Buffer.from(topic), place(n));
        if (ownId) ids.put(Buffer.from(ownId), place(n));
      }
    });
    await root.openDB({ name: 'epochs' }).put(1_700_000_000_000, true);
    const facts = root.openDB({ name: 'koa-sse-hub' });
    await facts.put('format', 'koa-sse-hub journal 1');
    await facts.put('trimmed', { id: 'id 2', position: '1700000000000-2' });
    await root.close();
  };
  const position = (n: number): string => `1700000000000-${n}`;

  test('is upgraded when it is opened, with all that it holds', async () => {
    await makeOld(2502);
    for (let n = 0; n < 2; n++) {
      const journal = await open();
      const held = await readAll(journal, { topics: ['t'] });
      expect(held).toEqual(await readAll(journal));
      expect(dataOf(held)).toEqual(Array.from({ length: 2500 }, (_, n) => `${n + 3}`));
      expect(held[2]).toEqual({
        ...update('5', { topics: ['t', 't5'], id: 'id 5', retry: 5 }),
        position: position(5),
      });
      expect(await journal.locate('id 5')).toEqual({ found: true, position: position(5) });
      const again = update('5', { topics: ['t', 't5'], id: 'id 5', retry: 5 });
      expect(await journal.append([again])).toEqual([{ id: 'id 5', position: position(5) }]);
      expect(await journal.locate(position(2))).toEqual({ found: true, position: position(2) });
      expect(await journal.locate(position(1))).toEqual({ found: false, reason: 'trimmed' });
      expect((await journal.read({ ...NO_LIMIT, after: position(1) })).trimmed).toBe(true);
      await journal.close();
    }
  });

  test('counts its updates, of which a clock that was ahead holds up none', async () => {
    await makeOld(22);
    const start = Date.now();
    let journal = await open({ maxUpdates: 21 });
    await journal.append([update('new', { publisher: 'ada' })]);
    await journal.append([update('new', { publisher: 'ada' })]);
    expect(dataOf(await readAll(journal)).slice(0, 2)).toEqual(['4', '5']);
    await journal.close();
    const now = jest.spyOn(Date, 'now').mockReturnValue(start + 3_600_000);
    journal = await open({ maxAgeMs: 60_000 });
    await journal.append([update('young')]);
    expect(dataOf(await readAll(journal))).toEqual(['young']);
    await journal.close();
    now.mockRestore();
  });
});

async function snapshot(journal: Journal, refs: readonly EntryRef[]): Promise<unknown> {
  return {
    entries: await readAll(journal),
    byTopic: await readAll(journal, { topics: ['t', 'd'] }),
    trimmed: (await journal.read({ ...NO_LIMIT, after: refs[0]?.position })).trimmed,
    topics: await allTopics(journal),
    latest: await newestOf(journal, 't', 1),
    bounds: await journal.bounds(),
    located: await Promise.all(refs.map(({ id }) => journal.locate(id))),
  };
}

/** How many transactions the closed journal has seen. */
async function lastTransaction(): Promise<number> {
  const root = openLmdb({ path, noSubdir: false });
  const { lastTxnId } = root.getStats() as { lastTxnId: number };
  await root.close();
  return lastTxnId;
}

async function overwrite(file: string, position: number, length: number): Promise<void> {
  const handle = await openFile(file, 'r+');
  await handle.write(randomBytes(length), 0, length, position);
  await handle.close();
}
