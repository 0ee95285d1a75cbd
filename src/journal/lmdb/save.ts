/** Looks at the journal of a directory that no process has, and saves what is whole in it. */

import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { NumberedEnding } from '../endings.js';
import {
  comparePositions,
  ENDING_MAX_AGE_MS,
  type Ending,
  JournalError,
  type Position,
  parsePosition,
} from '../journal.js';
import type { ClockState } from '../journal-clock.js';
import { checkJournalFile, type Finder, type JournalCheck, scanJournalFile } from './check.js';
import { LmdbEndings } from './endings.js';
import {
  comparePlaces,
  encodeEntry,
  type Place,
  type StoredEntry,
  stampOf,
  toEntry,
  toPosition,
  topicsOf,
} from './entry.js';
import { type Databases, openFiles, withFile } from './files.js';
import { LmdbKeys, type RememberedKey } from './keys.js';
import { Ledger, toStoredState } from './ledger.js';

/** A journal that was saved. */
export interface Saved {
  readonly entries: number;
  /** Clients whose last update is before this one are told of a gap; undefined if nothing was lost or trimmed. */
  readonly lostThrough: Position | undefined;
}

/**
 * Says what is whole in a journal, and leaves it as it is.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN: there is none, or a process has it.
 */
export function checkJournal(directory: string): Promise<JournalCheck> {
  return withFile(resolve(directory), (file) => checkJournalFile(file));
}

/**
 * Saves what is whole in a journal as a journal in a new directory. Positions, ids and times stay, so that clients go
 * on from where they are; so do the keys and endings that are remembered. It holds all of the updates in memory.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN, also if the new directory is there and not empty.
 */
export function saveJournal(from: string, to: string): Promise<Saved> {
  return withFile(resolve(from), async (file) => {
    await assertEmpty(resolve(to));
    const entries = new Map<Position, KeyedStored>();
    const keys = new Map<string, RememberedKey>();
    const endings = new Map<Position, NumberedEnding>();
    const reopened = new Map<Position, readonly number[]>();
    const finder: Finder = {
      entry(place, stored) {
        const position = toPosition(place);
        if (!entries.has(position)) entries.set(position, { place, stored });
      },
      key(found) {
        const before = keys.get(found.key.key);
        if (!before || before.rememberedAt < found.rememberedAt) keys.set(found.key.key, found);
      },
      ending(found) {
        endings.set(found.update.position, found);
      },
      reopened(position, found) {
        // A longer one is a later one.
        if (found.length > (reopened.get(position)?.length ?? 0)) reopened.set(position, found);
      },
    };
    const check = await checkJournalFile(file, finder);
    // What hangs from a broken page is found on its own page; so is what was trimmed lately.
    if (check.problems.length > 0) await scanJournalFile(file, finder);
    const inOrder = [...entries.values()].sort((a, b) => comparePlaces(a.place, b.place));
    const lostThrough = lastLost(inOrder, check);
    const oldestFirst = [...keys.values()].sort((a, b) => a.rememberedAt - b.rememberedAt);
    const found = [...endings.values()].map((ending) => ({
      ...ending,
      reopened: reopened.get(ending.update.position) ?? ending.reopened,
    }));
    await write(resolve(to), inOrder, oldestFirst, wholeEndings(found, inOrder), lostThrough);
    return { entries: inOrder.length, lostThrough };
  });
}

const COMMIT = 1000;

interface KeyedStored {
  readonly place: Place;
  readonly stored: StoredEntry;
}

async function assertEmpty(directory: string): Promise<void> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  if (names.length === 0) return;
  throw new JournalError(
    'ERR_JOURNAL_OPEN',
    `The directory ${directory} is not empty; name one that is not there yet.`,
  );
}

/** After which position nothing that was held is missing. Rather a gap too many than one too few. */
function lastLost(entries: readonly KeyedStored[], check: JournalCheck): Position | undefined {
  const last = entries.at(-1)?.place;
  if (last === undefined) return undefined;
  // With broken pages nobody knows how much has been behind the last that was found.
  if (check.problems.length > 0) return toPosition([last[0], last[1] + 1]);
  const places = check.damaged.map((place): Place => place);
  if (check.trimmed !== undefined) places.push(parsePosition(check.trimmed));
  const lost = places.sort(comparePlaces).at(-1);
  return lost && toPosition(lost);
}

interface KeyedEnding {
  readonly ending: Ending;
  readonly rememberedAt: number;
}

/**
 * The endings that were found, and those that only their entries tell of, in order. An entry that stands after an ending
 * says that its topics go on, whatever a page says that is no longer in use.
 */
function wholeEndings(
  found: readonly NumberedEnding[],
  entries: readonly KeyedStored[],
): KeyedEnding[] {
  const byPosition = new Map<Position, NumberedEnding>();
  for (const each of found) byPosition.set(each.update.position, each);
  for (const { place, stored } of entries) {
    const entry = toEntry(place, stored);
    const rememberedAt = stampOf(stored);
    const isYoung = rememberedAt > Date.now() - ENDING_MAX_AGE_MS;
    if (!entry.last || !isYoung || byPosition.has(entry.position)) continue;
    byPosition.set(entry.position, { update: entry, reopened: [], number: 0, rememberedAt });
  }
  const inOrder = [...byPosition.values()].sort((a, b) =>
    comparePositions(a.update.position, b.update.position),
  );

  const endedBy = new Map<string, NumberedEnding>();
  for (const each of inOrder) {
    for (const [index, topic] of each.update.topics.entries()) {
      if (!each.reopened.includes(index)) endedBy.set(topic, each);
    }
  }
  for (const { place, stored } of entries) {
    for (const topic of topicsOf(stored)) {
      const position = endedBy.get(topic)?.update.position;
      if (position && comparePositions(position, toPosition(place)) < 0) endedBy.delete(topic);
    }
  }
  return inOrder.flatMap((each) => {
    const { update, rememberedAt } = each;
    const ended = update.topics.filter((topic) => endedBy.get(topic) === each);
    return ended.length === 0 ? [] : [{ ending: { ended, update }, rememberedAt }];
  });
}

async function write(
  to: string,
  entries: readonly KeyedStored[],
  keys: readonly RememberedKey[],
  endings: readonly KeyedEnding[],
  lostThrough: Position | undefined,
): Promise<void> {
  const { databases, close } = await openFiles(to, 'disk');
  try {
    const ledger = new Ledger(databases, { maxUpdates: Number.MAX_SAFE_INTEGER, maxAgeMs: 0 });
    for (let start = 0; start < entries.length; start += COMMIT) {
      await writeSome(databases, ledger, entries.slice(start, start + COMMIT));
    }
    await writeKeys(databases, keys);
    await writeEndings(databases, endings);
    if (lostThrough === undefined) return;
    const trimmed = { id: lostThrough, position: lostThrough, topics: [], private: true };
    const state = toStoredState({
      ...ledger.state,
      clock: clockAt(Date.now()),
      trimmed,
      trimmedFront: lostThrough,
    });
    await databases.ledger.put(['state'], state);
  } finally {
    await close();
  }
}

async function writeSome(
  databases: Databases,
  ledger: Ledger,
  some: readonly KeyedStored[],
): Promise<void> {
  const now = Date.now();
  const change = ledger.prepare(
    some.map(({ place, stored }) => toEntry(place, stored)),
    clockAt(now),
    0,
  );
  await databases.root.batch(() => {
    for (const { place, stored } of some) {
      const { id, position, topics } = toEntry(place, stored);
      const [, ...rest] = stored;
      databases.entries.put(place, encodeEntry(place, [Math.min(stampOf(stored), now), ...rest]));
      for (const topic of topics) databases.topics.put(Buffer.from(topic), place);
      if (id !== position) databases.ids.put(Buffer.from(id), place);
      databases.epochs.put(place[0], true);
    }
    ledger.write(change);
  });
  ledger.settle(change);
}

async function writeKeys(
  { root, ledger }: Databases,
  remembered: readonly RememberedKey[],
): Promise<void> {
  const now = Date.now();
  const keys = new LmdbKeys(ledger);
  for (let start = 0; start < remembered.length; start += COMMIT) {
    await root.batch(() => {
      for (const { key, rememberedAt } of remembered.slice(start, start + COMMIT)) {
        const change = keys.prepare([key], Math.min(rememberedAt, now));
        keys.write(change);
        keys.settle(change);
      }
    });
  }
}

async function writeEndings(
  { root, ledger }: Databases,
  remembered: readonly KeyedEnding[],
): Promise<void> {
  const now = Date.now();
  const endings = new LmdbEndings(ledger);
  for (let start = 0; start < remembered.length; start += COMMIT) {
    await root.batch(() => {
      for (const { ending, rememberedAt } of remembered.slice(start, start + COMMIT)) {
        const plan = { ended: [ending], reopened: [] };
        const change = endings.prepare(plan, Math.min(rememberedAt, now));
        endings.write(change);
        endings.settle(change);
      }
    });
  }
}

/** As far as is known, the clock has always been right. */
function clockAt(now: number): ClockState {
  return { time: now, wall: now, highWall: now, highTime: now };
}
