import { randomUUID } from 'node:crypto';
import { mkdir, open as openFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Database, open as openLmdb, type RootDatabase } from 'lmdb';
import { JournalError } from '../journal.js';
import { checkJournalFile, FACTS, FORMAT } from './check.js';
import {
  type DirectoryLock,
  isDirectoryLocked,
  lockDirectory,
  OwnedError,
} from './directory-lock.js';
import { FACT_ENCODER, type Place } from './entry.js';
import { watchFiles } from './file-watch.js';
import type { LedgerDatabase } from './ledger.js';
import { fileState, isSameState, NOTE_FILE, readNote, writeNote } from './note.js';
import { canUpgrade, upgrade } from './upgrade.js';

export interface Databases {
  readonly root: RootDatabase;
  /** See {@link file://./lmdb-entry.ts}. */
  readonly entries: Database<Buffer, Place>;
  /** The places of each topic's entries: one key with many values, in order. */
  readonly topics: Database<Place, Buffer>;
  /** The places of publishers' own ids: one for each scope in which an id is held, in order. */
  readonly ids: Database<Place, Buffer>;
  /** The epochs that positions have been given in. */
  readonly epochs: Database<true, number>;
  /** `format`; `pinged`; `lost`: the positions of damaged entries that were trimmed, which the indexes still name. */
  readonly facts: Database<unknown, string>;
  /** The same database as `facts`, under keys of its own. */
  readonly ledger: LedgerDatabase;
}

/** A journal's databases, and what keeps them this process's own. */
export interface OpenFiles {
  readonly databases: Databases;
  /** The entries that were found damaged. */
  readonly damaged: readonly Place[];
  readonly damagedCount: number;
  /**
   * To be asked before each use, since LMDB does not ask, and after each write, since it may have gone to a file
   * that nobody finds.
   *
   * @throws {Error} the directory or its files have been removed or replaced, or the file has been cut off.
   */
  assertThere(use: 'read' | 'write'): void;
  close(): Promise<void>;
}

/**
 * Opens the databases of a journal in a directory, which is this process's until they are closed.
 *
 * LMDB trusts its files: one that is not whole, or not its own, ends the process. So all that can be wrong
 * with them is looked for before it sees them. Nothing can be when nothing has touched them since they were closed.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN, with what is wrong and what to do.
 */
export async function openFiles(path: string, sync: 'disk' | 'os'): Promise<OpenFiles> {
  await makeDirectory(path);
  const lock = await takeOwnership(path);
  const file = join(path, FILE);
  let root: RootDatabase | undefined;
  try {
    await assertReadable(path);
    const { damaged, damagedCount } = await assertSound(path);
    root = openRoot(path, sync);
    await assertWhole(root, path);
    const databases = openDatabases(root, path);
    if (sync === 'disk') await syncDirectory(path);
    await writeNote(path, { closed: null });
    const close = async (): Promise<void> => {
      await databases.root.close();
      // Without the note the next start takes longer, and no more.
      const closed = await fileState(file).catch(() => undefined);
      if (closed) await writeNote(path, { closed }).catch(() => {});
      await lock.release();
    };
    return {
      databases,
      damaged,
      damagedCount,
      assertThere: watchFiles(path, file, lock.file),
      close,
    };
  } catch (error) {
    await root?.close();
    await lock.release();
    if (error instanceof JournalError) throw error;
    throw openError(path, `cannot be opened: ${messageOf(error)}`, RESTORE, error);
  }
}

export const FILE = 'data.mdb';
const LOCK_FILE = 'lock.mdb';
/** What LMDB's files begin with, behind the header of the page: its mark and the version of its format. */
const MAGIC = Buffer.from([0xde, 0xc0, 0xef, 0xbe, 2, 0]);
const MAX_PAGE_BYTES = 64 * 1024;
const RESTORE = 'restore or remove it, save what is whole with `koa-sse-hub check-journal`';
/** Far more than one transaction leaves unwritten, and less than is missing when a copy was broken off. */
const MAX_UNWRITTEN_BYTES = 1024 * 1024;

/**
 * Looks at the file of a journal that no process has. Nothing in the directory is written; so nobody is kept out who
 * comes meanwhile.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN: there is no file, or a process has the directory.
 */
export async function withFile<T>(path: string, act: (file: string) => Promise<T>): Promise<T> {
  const file = join(path, FILE);
  const state = await fileState(file).catch((error: unknown) => {
    throw openError(path, `cannot be read: ${messageOf(error)}`, 'let this user read it', error);
  });
  if (state === undefined || state.bytes === '0') {
    const what = state ? 'is empty' : 'is not there';
    throw openError(path, `is no journal: its ${FILE} ${what}`, 'see where it is');
  }
  if (await isDirectoryLocked(path)) {
    throw openError(path, 'is in use by another process or journal', 'stop that');
  }
  return act(file);
}

/** An option that LMDB has and its types lack. */
const BY_FACT = { encoder: FACT_ENCODER };

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' || code === 'ENOTDIR') {
      throw openError(path, 'is not a directory', 'remove the file that is in its way', error);
    }
    throw openError(
      path,
      `cannot be made a directory: ${messageOf(error)}`,
      'make it, and let this user write there',
      error,
    );
  }
}

async function takeOwnership(path: string): Promise<DirectoryLock> {
  try {
    return await lockDirectory(path);
  } catch (error) {
    if (error instanceof OwnedError) {
      throw openError(path, 'is in use by another process or journal', 'stop that', error);
    }
    throw openError(
      path,
      `cannot be written: ${messageOf(error)}`,
      'let this user write there and to all that is in it',
      error,
    );
  }
}

function openRoot(path: string, sync: 'disk' | 'os'): RootDatabase {
  return openLmdb({
    path,
    noSubdir: false,
    noSync: sync === 'os',
    // Otherwise a write resolves when it can be read, before it is on the disk.
    overlappingSync: false,
    // Otherwise a commit that fails also rejects a promise that nobody has in hand.
    eventTurnBatching: false,
  });
}

/** @throws {JournalError} LMDB would end the process instead of refusing the file. */
async function assertReadable(path: string): Promise<void> {
  await readHead(path, LOCK_FILE);
  const head = await readHead(path, FILE);
  if (head.length === 0) return assertRoom(path); // New, or its maker was killed before it wrote.
  const offset = head.subarray(0, 64).indexOf(MAGIC);
  // Each of the first two pages has it, at the same place. The size of a page is a power of two.
  for (let pageBytes = 256; offset !== -1 && pageBytes <= MAX_PAGE_BYTES; pageBytes *= 2) {
    if (head.subarray(pageBytes + offset).indexOf(MAGIC) === 0) return;
  }
  throw openError(path, `is damaged, or its ${FILE} is something else`, RESTORE);
}

/**
 * Looks at all of the file, unless it is as this left it.
 *
 * @returns the entries that are damaged, which does not prevent the others from being read.
 * @throws {JournalError} LMDB would trust what is broken.
 */
async function assertSound(
  path: string,
): Promise<{ damaged: readonly Place[]; damagedCount: number }> {
  const file = join(path, FILE);
  const none = { damaged: [], damagedCount: 0 };
  const note = await readNote(path);
  const state = await fileState(file);
  if (state === undefined || state.bytes === '0') {
    if (!note) return none;
    throw openError(
      path,
      `has lost its updates: its ${FILE} is ${state ? 'empty' : 'gone'}, and ${NOTE_FILE} says that it was there`,
      `restore ${FILE}, or remove the directory to begin anew`,
    );
  }
  if (isSameState(note?.closed, state)) return none;
  const check = await checkJournalFile(file);
  if (check.missingBytes > MAX_UNWRITTEN_BYTES) {
    throw openError(path, `is damaged: ${check.missingBytes} bytes are missing`, RESTORE);
  }
  const [problem] = check.problems;
  if (problem !== undefined) {
    throw openError(path, `is damaged (${problem}), and LMDB would end this process`, RESTORE);
  }
  return check;
}

/** LMDB maps the files that it makes; a write into a map for which there is no room ends the process. */
async function assertRoom(path: string): Promise<void> {
  const probe = join(path, randomUUID());
  try {
    await writeFile(probe, Buffer.alloc(128 * 1024), { flush: true });
  } catch (error) {
    throw openError(path, `cannot be made: ${messageOf(error)}`, 'make room on its disk', error);
  } finally {
    await rm(probe, { force: true });
  }
}

async function readHead(path: string, name: string): Promise<Buffer> {
  try {
    const file = await openFile(join(path, name), 'r+');
    try {
      const head = Buffer.alloc(2 * MAX_PAGE_BYTES);
      return head.subarray(0, (await file.read(head, 0, head.length, 0)).bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw openError(
      path,
      `cannot be read and written: ${messageOf(error)}`,
      `let this user read and write its ${name}`,
      error,
    );
  }
}

/**
 * LMDB maps the file into memory, where looking at what is beyond its end would end the process.
 *
 * @throws {JournalError} the file has been cut off.
 */
async function assertWhole(root: RootDatabase, path: string): Promise<void> {
  const { lastPageNumber, root: page } = statsOf(root);
  const file = join(path, FILE);
  const length = (lastPageNumber + 1) * page.pageSize;
  const missing = length - (await stat(file)).size;
  if (missing <= 0) return;
  if (missing > MAX_UNWRITTEN_BYTES) {
    throw openError(path, `is damaged: ${missing} bytes are missing`, RESTORE);
  }
  // Pages that were taken and let go in one transaction are never written, and may be the last ones.
  await truncate(file, length);
}

function openDatabases(root: RootDatabase, path: string): Databases {
  const names = [...root.getKeys()].map(String);
  const isForeign = names.length > 0 && !names.includes(FACTS);
  if (isForeign) throw notOurs(path);
  const facts = root.openDB<unknown, string>({ name: FACTS, ...BY_FACT });
  const isNew = [...facts.getKeys({ limit: 1 })].length === 0;
  if (isNew) facts.putSync('format', FORMAT);
  const format = formatOf(facts) ?? root.openDB<unknown, string>({ name: FACTS }).get('format');
  if (format !== FORMAT && !canUpgrade(format)) throw notOurs(path);

  const byText = { keyEncoding: 'binary', encoding: 'ordered-binary' } as const;
  const databases: Databases = {
    root,
    facts,
    entries: root.openDB<Buffer, Place>({ name: 'entries', encoding: 'binary' }),
    topics: root.openDB<Place, Buffer>({ name: 'topics', dupSort: true, ...byText }),
    ids: root.openDB<Place, Buffer>({ name: 'own ids', dupSort: true, ...byText }),
    epochs: root.openDB<true, number>({ name: 'epochs' }),
    // None of its own: with one more in its transactions, LMDB was seen to corrupt the heap after a failed write.
    ledger: facts as unknown as LedgerDatabase,
  };
  if (format !== FORMAT) upgrade(root, databases, format);
  return databases;
}

function formatOf(facts: Databases['facts']): unknown {
  try {
    return facts.get('format');
  } catch {
    return undefined; // It is stored as another version does.
  }
}

/** The part of LMDB's statistics that is used here; its types leave it open. */
interface Stats {
  readonly lastPageNumber: number;
  readonly root: { readonly pageSize: number };
}

function statsOf(database: Database): Stats {
  return database.getStats() as Stats;
}

function notOurs(path: string): JournalError {
  return openError(
    path,
    `is no journal of this version: it lacks the mark "${FORMAT}"`,
    'leave it to what made it',
  );
}

/** A file is on the disk when its own pages are and when its directory, which names it, is. */
async function syncDirectory(path: string): Promise<void> {
  for (const directory of [path, dirname(path)]) {
    const handle = await openFile(directory);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

/** What the journal notes cannot be read, though its file is as it was left. */
export function damagedError(path: string, cause: unknown): JournalError {
  return openError(path, `is damaged: ${messageOf(cause)}`, RESTORE, cause);
}

function openError(path: string, what: string, remedy: string, cause?: unknown): JournalError {
  return new JournalError(
    'ERR_JOURNAL_OPEN',
    `The journal ${path} ${what}; ${remedy}, or name another directory.`,
    { cause },
  );
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
