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
import { keyOf } from '../src/journal/contract/keys.js';
import { type EntryRef, type Journal, KEY_MAX_AGE_MS } from '../src/journal/journal.js';
import { openLmdbJournal } from '../src/journal/lmdb/lmdb.js';
import { checkJournal, saveJournal } from '../src/journal/lmdb/save.js';
import { dataOf, KEEP_ALL, readAll, update } from './support/journal-contract.js';
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
  type JournalProcess,
  liftFileLimit,
  temporaryDirectory,
} from './support/journal-process.js';
import { killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { tokenFor } from './support/tokens.js';

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

afterEach(() => killPrograms());

afterAll(async () => {
  await processes.remove();
  await rm(directory, { recursive: true });
});

const open = (rest: Partial<Parameters<typeof openLmdbJournal>[0]> = {}): Promise<Journal> =>
  openLmdbJournal({ path, sync: 'os', ...KEEP_ALL, ...rest });

describe('after a restart', () => {
  test('an append under a key is answered as before, also if its updates have been trimmed', async () => {
    let journal = await open({ maxUpdates: 3 });
    const updates = [update('a', { id: 'own' }), update('b'), update('c', { id: 'other' })];
    const refs = await journal.append(updates, keyOf('k', { publisher: 'ada' }));
    for (let run = 0; run < 3; run++) {
      await journal.append([update('one more')]);
      await journal.close();
      journal = await open({ maxUpdates: 3 });
      expect(await journal.append(updates, keyOf('k', { publisher: 'ada' }))).toEqual(refs);
      await expect(
        journal.append(updates, keyOf('k', { digest: 'of another' })),
      ).rejects.toMatchObject({ code: 'ERR_KEY_TAKEN' });
    }
    expect(dataOf(await readAll(journal))).toEqual(['one more', 'one more', 'one more']);
    await journal.close();
  });

  test('keys are as old as they are, and those that were forgotten stay so', async () => {
    const start = Date.now();
    const now = jest.spyOn(Date, 'now').mockReturnValue(start);
    let journal = await open();
    const first = await journal.append([update('a')], keyOf('a'));
    now.mockReturnValue(start + KEY_MAX_AGE_MS / 2);
    const second = await journal.append([update('b')], keyOf('b'));
    await journal.close();
    now.mockReturnValue(start + KEY_MAX_AGE_MS);
    journal = await open();
    expect(await journal.append([update('b')], keyOf('b'))).toEqual(second);
    const again = await journal.append([update('a')], keyOf('a'));
    expect(again).not.toEqual(first);
    await journal.close();
    journal = await open();
    expect(await journal.append([update('a')], keyOf('a'))).toEqual(again);
    await journal.close();
    // What is too old has left the disk, with the first append after it.
    now.mockReturnValue(start + 3 * KEY_MAX_AGE_MS);
    journal = await open();
    await journal.append([update('c')]);
    await journal.close();
    now.mockRestore();
    expect(await checkJournal(path)).toMatchObject({ keys: 0, problems: [] });
  });

  test.each([
    ["of the journal's ids", () => undefined],
    ['of own ids', (n: number) => `${n} ${'x'.repeat(200)}`],
    ['of a mixture', (n: number) => (n % 2 ? `own ${n}` : undefined)],
  ])('10,000 updates %s take as little under a key as one', async (_, idOf) => {
    const journal = await open();
    const updates = Array.from({ length: 10_000 }, (_, n) => {
      const id = idOf(n);
      return update('', id === undefined ? {} : { id });
    });
    await journal.append(updates, keyOf('k'));
    await journal.close();
    const root = openLmdb({ path });
    const facts = root.openDB<Buffer, string[]>({ name: 'koa-sse-hub', encoding: 'binary' });
    expect(facts.get(['key', 1 as never])?.length).toBeLessThan(100);
    await root.close();
  });

  test('what was forgotten of a flood has left the disk', async () => {
    let journal = await open();
    for (let n = 0; n < 50_000; n += 1000) {
      const some = Array.from({ length: 1000 }, (_, m) =>
        journal.append([], keyOf(`${n + m}`, { digest: 'd'.repeat(64), publisher: 'ada' })),
      );
      await Promise.all(some);
    }
    await journal.close();
    const { keys, problems } = await checkJournal(path);
    expect(problems).toEqual([]);
    // 16 MiB of 422 bytes each, and what the last commit has added.
    expect(keys).toBeGreaterThan(39_000);
    expect(keys).toBeLessThan(41_000);
    expect((await stat(join(path, 'data.mdb'))).size).toBeLessThan(64 * 1024 * 1024);
    journal = await open();
    expect(await journal.append([], keyOf('49999', { digest: 'd'.repeat(64) }))).toEqual([]);
    await journal.close();
  });
});

describe('a kill of the process', () => {
  const appendTo = (child: JournalProcess, data: string) =>
    child.call('append', [update(data)], keyOf(data)) as Promise<readonly EntryRef[]>;

  test.each(['disk', 'os'] as const)(
    'between the first append and its repeat: the repeat is answered as the first (%s)',
    async (sync) => {
      let child = await processes.start(path, { sync });
      const refs = await appendTo(child, 'a');
      for (let n = 0; n < 3; n++) {
        await child.kill();
        child = await processes.start(path, { sync });
        expect(await appendTo(child, 'a')).toEqual(refs);
      }
      await child.kill();
      const journal = await open();
      expect(dataOf(await readAll(journal))).toEqual(['a']);
      await journal.close();
    },
  );

  test.each(['disk', 'os'] as const)(
    'in the midst of appends, each repeated until it is answered, leaves each update there once (%s)',
    async (sync) => {
      const answered = new Map<string, unknown>();
      const others: unknown[] = [];
      const all = Array.from({ length: 1500 }, (_, n) => `${n}`);
      for (let round = 1; answered.size < all.length; round++) {
        const child = await processes.start(path, { sync });
        const isEnough = 250 * round;
        await new Promise<void>((resolve) => {
          const waiting = all.map(async (data) => {
            const refs = await appendTo(child, data).catch(() => undefined);
            if (refs === undefined) return;
            const before = answered.get(data) ?? refs;
            if (JSON.stringify(before) !== JSON.stringify(refs)) others.push({ before, refs });
            answered.set(data, refs);
            if (answered.size === isEnough) resolve();
          });
          Promise.all(waiting).then(() => resolve());
        });
        await child.kill();
      }
      // What was answered once is answered the same ever after.
      expect(others).toEqual([]);
      const journal = await open();
      expect(dataOf(await readAll(journal)).sort()).toEqual([...all].sort());
      await journal.close();
      expect(await checkJournal(path)).toMatchObject({ keys: all.length, problems: [] });
    },
    60_000,
  );
});

describe('a full disk', () => {
  if (!canLiftFileLimit) {
    test('is not tested on this system, which cannot limit the growth of files for a while', () => {});
    return;
  }

  test('leaves no key behind: the repeat is made once there is room', async () => {
    const child = await processes.start(path, { maxFileKiB: 1024 });
    const append = (n: number) =>
      child.call('append', [update(`${n} ${'x'.repeat(50_000)}`)], keyOf(`${n}`));
    let n = 0;
    for (;;) {
      const error = await append(n).then(
        () => undefined,
        (reason) => reason,
      );
      if (error) {
        expect(error).toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
        break;
      }
      n++;
    }
    await liftFileLimit(child);
    const refs = await append(n);
    expect(await append(n)).toEqual(refs);
    await child.kill();
    const journal = await open();
    expect(await readAll(journal)).toHaveLength(n + 1);
    await journal.close();
    expect(await checkJournal(path)).toMatchObject({ keys: n + 1, problems: [] });
  });
});

describe('a service that is killed with -9', () => {
  const start = () => runProgram('dist/main.js', { env: { JWT_KEY, JOURNAL: `lmdb:${path}` } });

  test('answers a repeat under the same Idempotency-Key with the ids of the first, and another body with 422', async () => {
    const token = await tokenFor();
    const publish = async (url: string, type: string, body: string): Promise<[number, string]> => {
      const response = await fetch(`${url}/hub`, {
        method: 'POST',
        headers: {
          Authorization: `Bearer ${token}`,
          'Content-Type': type,
          'Idempotency-Key': `a ${type}`,
        },
        body,
      });
      return [response.status, await response.text()];
    };
    const bodies = [
      ['application/x-www-form-urlencoded', 'topic=t&data=form'],
      [
        'application/x-ndjson',
        Array.from({ length: 10_000 }, (_, n) =>
          JSON.stringify({ topic: 't', data: `${n}`, ...(n % 2 ? { id: `own ${n}` } : {}) }),
        ).join('\n'),
      ],
    ] as const;
    let service = await start();
    const first: [number, string][] = [];
    for (const [type, body] of bodies) first.push(await publish(service.url, type, body));
    expect(first.map(([status]) => status)).toEqual([200, 200]);
    await service.kill('SIGKILL');
    service = await start();
    for (const [index, [type, body]] of bodies.entries()) {
      expect(await publish(service.url, type, body)).toEqual(first[index]);
      const [status, text] = await publish(service.url, type, `${body} `);
      expect([status, text]).toEqual([422, expect.stringMatching(/Idempotency-Key was used/)]);
    }
    await service.kill();
    const journal = await open();
    expect(await readAll(journal)).toHaveLength(10_001);
    await journal.close();
  }, 30_000);
});

describe('a journal that remembers keys', () => {
  /** The file of a closed journal with keys, whose answers are given. */
  const make = async (): Promise<{ file: Buffer; refs: readonly EntryRef[] }> => {
    const journal = await open();
    const refs: EntryRef[] = [];
    for (let n = 0; n < 50; n++) {
      refs.push(...(await journal.append([update(`${n}`)], keyOf(`key ${n};`))));
    }
    await journal.close();
    const file = await readFile(join(path, 'data.mdb'));
    path = join(directory, `${++count}`);
    return { file, refs };
  };

  test('is found whole by check-journal, which counts them', async () => {
    const { file } = await make();
    await writeJournalFile(path, file);
    expect(await checkJournal(path)).toMatchObject({ keys: 50, problems: [], damagedCount: 0 });
    const { code, stdout } = await runCheckJournal(path);
    expect(code).toBe(0);
    expect(stdout).toMatch(/50 Idempotency-Keys are remembered/);
  });

  test('is not opened when one of them is damaged, and says so; check-journal saves the others', async () => {
    const { file, refs } = await make();
    await writeJournalFile(path, overwriteText(file, 'key 7;', 'key X;'));
    await expect(open()).rejects.toMatchObject({
      code: 'ERR_JOURNAL_OPEN',
      message: expect.stringMatching(/a key that it remembers is damaged.*check-journal/),
    });
    expect(await checkJournal(path)).toMatchObject({
      entries: 50,
      keys: 49,
      problems: ['a key that it remembers is damaged'],
    });
    expect(await runCheckJournal(path)).toMatchObject({ code: 1 });
    const saved = join(directory, `${count} saved`);
    await saveJournal(path, saved);
    const journal = await open({ path: saved });
    for (let n = 0; n < 50; n++) {
      if (n === 7) continue;
      expect(await journal.append([update(`${n}`)], keyOf(`key ${n};`))).toEqual([refs[n]]);
    }
    expect(await readAll(journal)).toHaveLength(50);
    await journal.close();
  });

  test('is not opened either when the damage comes after a clean stop and leaves no trace', async () => {
    const { file } = await make();
    await (await open()).close();
    await writeJournalFile(path, overwriteText(file, 'key 7;', 'key X;'));
    await noteCleanStop(path);
    for (let n = 0; n < 2; n++) {
      await expect(open()).rejects.toMatchObject({
        code: 'ERR_JOURNAL_OPEN',
        message: expect.stringMatching(/damaged.*check-journal/),
      });
    }
  });

  test('saves keys that hang from broken pages as well', async () => {
    const { file, refs } = await make();
    await writeJournalFile(path, breakBranches(file));
    await expect(open()).rejects.toMatchObject({ code: 'ERR_JOURNAL_OPEN' });
    const saved = join(directory, `${count} saved`);
    await saveJournal(path, saved);
    const journal = await open({ path: saved });
    for (let n = 0; n < 50; n++) {
      expect(await journal.append([update(`${n}`)], keyOf(`key ${n};`))).toEqual([refs[n]]);
    }
    await journal.close();
  });

  test('of an earlier build of this format is opened, and remembers keys from then on', async () => {
    // Such a journal is one that has never been given a key.
    let journal = await open();
    await journal.append([update('before')]);
    await journal.close();
    const root = openLmdb({ path });
    const facts = root.openDB({ name: 'koa-sse-hub', encoding: 'binary' });
    const names = [...facts.getKeys()].map((name) => (Array.isArray(name) ? name[0] : name));
    expect(new Set(names)).toEqual(new Set(['format', 'holds', 'run', 'size', 'state']));
    await root.close();
    journal = await open();
    const refs = await journal.append([update('a')], keyOf('k'));
    await journal.close();
    journal = await open();
    expect(await journal.append([update('a')], keyOf('k'))).toEqual(refs);
    await journal.close();
  });
});
