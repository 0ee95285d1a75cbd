/** Reads all of a journal's file, without LMDB, and says what is whole. */

import { open as openFile } from 'node:fs/promises';
import type { NumberedEnding } from '../endings.js';
import type { Position } from '../journal.js';
import { ENDING_FACT, fromStoredEnding, fromStoredReopened, REOPENED_FACT } from './endings.js';
import {
  checksum,
  decodeEntry,
  decodeFact,
  ownIdOf,
  type Place,
  readNumberKey,
  readPlace,
  type StoredEntry,
  toPosition,
  topicsOf,
} from './entry.js';
import { fromStoredKey, KEY_FACT, type RememberedKey } from './keys.js';
import { fromStoredState, type LedgerState, type StoredState } from './ledger.js';
import { type Item, PageFile, type Tree } from './pages.js';

/** What the file of a journal holds. */
export interface JournalCheck {
  /** Whether it names itself a journal of this version or the last. Otherwise only its pages have been looked at. */
  readonly isJournal: boolean;
  /** How many entries are whole, and the first and the last of them. */
  readonly entries: number;
  readonly first: Position | undefined;
  readonly last: Position | undefined;
  /** How many topics they have. */
  readonly topics: number;
  /** How many keys are remembered. */
  readonly keys: number;
  /** How many endings are. */
  readonly endings: number;
  /** The last entry that was trimmed, as far as the file says. */
  readonly trimmed: Position | undefined;
  /** The entries that are not what was stored there, at most {@link MAX_DAMAGED} of them, and how many there are. */
  readonly damaged: readonly Place[];
  readonly damagedCount: number;
  /** What is wrong with all else: it must not be opened, since LMDB would trust it. */
  readonly problems: readonly string[];
  readonly missingBytes: number;
}

/** Who is told what is whole in a file. */
export interface Finder extends RememberedFinder {
  entry(place: Place, entry: StoredEntry): void;
}

/** Who is told of what it remembers beside its entries. */
interface RememberedFinder {
  key(key: RememberedKey): void;
  /** As it was when its topics ended. */
  ending(ending: NumberedEnding): void;
  /** Which topics of the ending at a position have been reopened since. */
  reopened(position: Position, reopened: readonly number[]): void;
}

const NOBODY: Finder = { entry: () => {}, key: () => {}, ending: () => {}, reopened: () => {} };

/**
 * Checks each page that LMDB may come to, each entry, and whether the indexes name all entries and nothing else.
 *
 * @param finder - is told of each whole entry, key and ending, in the order of the file: entries in that of positions.
 */
export async function checkJournalFile(
  path: string,
  finder: Finder = NOBODY,
): Promise<JournalCheck> {
  const file = await openFile(path, 'r');
  try {
    const check = new Check(new PageFile(file.fd), finder);
    await inTurns(check.run());
    return check.result;
  } finally {
    await file.close();
  }
}

/** Every whole entry, key and ending that any page of the file has, in no order, and some more than once. */
export async function scanJournalFile(path: string, finder: Finder): Promise<void> {
  const file = await openFile(path, 'r');
  try {
    const items = new PageFile(file.fd).allItems();
    await inTurns(items, ({ key, value }) => {
      const place = readPlace(key);
      const entry = place && decodeEntry(place, value);
      if (place && entry) finder.entry(place, entry);
      if (!place) tellRemembered(key, decodeFact(value), finder);
    });
  } finally {
    await file.close();
  }
}

/**
 * Tells a finder of a key or an ending.
 *
 * @returns which of them it is, and whether it is whole; undefined if it is neither.
 */
function tellRemembered(
  name: Buffer,
  fact: unknown,
  finder: RememberedFinder,
): { readonly what: 'a key' | 'an ending'; readonly isWhole: boolean } | undefined {
  const number = factNumber(name);
  switch (factName(name)) {
    case KEY_FACT: {
      const key = fromStoredKey(number, fact);
      if (key) finder.key(key);
      return { what: 'a key', isWhole: key !== undefined };
    }
    case ENDING_FACT: {
      const ending = fromStoredEnding(number, fact);
      if (ending) finder.ending(ending);
      return { what: 'an ending', isWhole: ending !== undefined };
    }
    case REOPENED_FACT: {
      const stored = fromStoredReopened(number, fact);
      if (stored) finder.reopened(stored.position, stored.reopened);
      return { what: 'an ending', isWhole: stored !== undefined };
    }
    default:
      return undefined;
  }
}

/** Marks a database as a journal whose entries are stored as they are here. */
export const FORMAT = 'koa-sse-hub journal 3';
/** The format in which no topic could end. All else is the same. */
export const FORMAT_2 = 'koa-sse-hub journal 2';
export const FACTS = 'koa-sse-hub';
/** With the first parts of the ledger's keys, but for those that have a number. */
const FACT_NAMES = ['format', 'lost', 'pinged', 'state', 'holds', 'run', 'trimmed topic', 'size'];

function factName(name: Buffer): string {
  return name.toString().split('\0')[0] as string;
}

/** The number in the name of what is remembered. */
function factNumber(name: Buffer): number {
  return readNumberKey(name.subarray(name.indexOf(0) + 1));
}

/** `MDB_DUPSORT`: a key has several values. */
const SORTED_VALUES = 0x04;
const TREE_FLAGS = {
  [FACTS]: 0,
  entries: 0,
  epochs: 0,
  'own ids': SORTED_VALUES,
  topics: SORTED_VALUES,
};
/** Left empty by the upgrade from format 1. */
const OLD_TREE = 'ids';

const MAX_DAMAGED = 10_000;
/** The check occupies the event loop for so long. */
const TURN_MS = 10;

class Check {
  readonly #file: PageFile;
  readonly #finder: Finder;
  readonly #problems: string[] = [];
  #lost: ReadonlySet<Position> = new Set();
  readonly #damagedFacts: string[] = [];
  #format: unknown;
  #state: LedgerState | undefined;
  #entries = 0;
  #oldest: Place | undefined;
  #first: Place | undefined;
  #last: Place | undefined;
  #topics = 0;
  #keys = 0;
  /** How many topics the ending at a position has. */
  readonly #endings = new Map<Position, number>();
  readonly #damaged: Place[] = [];
  readonly #damagedPositions = new Set<Position>();
  readonly #epochs = new Set<number>();
  /** What the entries say that the indexes hold, and what those hold. */
  readonly #expected = { topics: new Sum(), 'own ids': new Sum() };
  readonly #found = { topics: new Sum(), 'own ids': new Sum() };

  constructor(file: PageFile, finder: Finder) {
    this.#file = file;
    this.#finder = finder;
  }

  get result(): JournalCheck {
    const pages = this.#file.problems.map(({ page, what }) => `page ${page}, ${what}`);
    return {
      isJournal: this.#isJournal,
      entries: this.#entries,
      first: this.#first && toPosition(this.#first),
      last: this.#last && toPosition(this.#last),
      topics: this.#topics,
      keys: this.#keys,
      endings: this.#endings.size,
      trimmed: this.#state?.trimmed?.position,
      damaged: this.#damaged,
      damagedCount: this.#damagedPositions.size,
      problems: [...pages, ...new Set(this.#problems)],
      missingBytes: Math.max(this.#file.missingBytes, 0),
    };
  }

  get #isJournal(): boolean {
    return this.#format === FORMAT || this.#format === FORMAT_2;
  }

  /** Yields after each page. */
  *run(): Generator<undefined> {
    const trees = new Map([...this.#file.trees()].map((tree) => [tree.name, tree]));
    const { [FACTS]: facts, entries, ...indexes } = Object.fromEntries(trees);
    if (facts) yield* this.#walk(facts, (item) => this.#readFact(item));
    // With what the entries say, the indexes are compared.
    if (entries) yield* this.#walk(entries, (item) => this.#readEntry(item));
    for (const tree of Object.values(indexes)) {
      yield* this.#walk(tree, (item) => this.#readIndex(tree.name, item));
    }
    yield* this.#file.checkFree();
    if (this.#isJournal) this.#compare([...trees.keys()]);
  }

  *#walk(tree: Tree, read: (item: Item) => void): Generator<undefined> {
    const flags = (TREE_FLAGS as Record<string, number>)[tree.name];
    if (flags !== undefined && flags !== tree.flags) {
      this.#problems.push(`${tree.name} is a tree of another kind`);
    }
    const kind = tree.flags & SORTED_VALUES ? 'multiple' : 'single';
    for (const item of this.#file.items(tree, kind)) {
      if (item) read(item);
      else yield;
    }
  }

  #readFact({ key, value }: Item): void {
    const name = factName(key);
    const fact = decodeFact(value);
    const remembered = tellRemembered(key, fact, this.#counting);
    if (remembered) {
      if (!remembered.isWhole) this.#noteDamaged(remembered.what);
    } else if (!FACT_NAMES.includes(name) || fact === undefined) {
      this.#damagedFacts.push(`what it notes as ${JSON.stringify(name)} is damaged`);
    } else if (name === 'format') {
      this.#format = fact;
    } else if (name === 'lost') {
      this.#lost = new Set(fact as Position[]);
    } else if (name === 'state') {
      this.#state = fromStoredState(fact as StoredState);
    }
  }

  /** Tells the finder, and counts. */
  readonly #counting: RememberedFinder = {
    key: (key) => {
      this.#keys++;
      this.#finder.key(key);
    },
    ending: (ending) => {
      this.#endings.set(ending.update.position, ending.update.topics.length);
      this.#finder.ending(ending);
    },
    reopened: (position, reopened) => {
      // Its ending stands before it in the file.
      const topics = this.#endings.get(position) ?? 0;
      if (reopened.length < topics && reopened.every((index) => index < topics)) {
        this.#finder.reopened(position, reopened);
      } else {
        this.#noteDamaged('an ending');
      }
    },
  };

  #noteDamaged(what: 'a key' | 'an ending'): void {
    this.#damagedFacts.push(`${what} that it remembers is damaged`);
  }

  #readEntry({ key, value }: Item): void {
    if (!this.#isJournal) return;
    const place = readPlace(key);
    if (!place) {
      this.#problems.push('an entry has a key that is no position');
      return;
    }
    this.#oldest ??= place;
    this.#epochs.add(place[0]);
    const entry = decodeEntry(place, value);
    if (!entry) {
      if (this.#damaged.length < MAX_DAMAGED) this.#damaged.push(place);
      this.#damagedPositions.add(toPosition(place));
      return;
    }
    this.#entries++;
    this.#first ??= place;
    this.#last = place;
    for (const topic of topicsOf(entry)) {
      this.#expected.topics.add(checksum(place, Buffer.from(topic)));
    }
    const ownId = ownIdOf(entry);
    if (ownId !== null) this.#expected['own ids'].add(checksum(place, Buffer.from(ownId)));
    this.#finder.entry(place, entry);
  }

  #lastTopic: Buffer | undefined;

  #readIndex(name: string, { key, value }: Item): void {
    if (!this.#isJournal) return;
    if (name === 'epochs') {
      this.#epochs.delete(readNumberKey(key));
      return;
    }
    if (name !== 'topics' && name !== 'own ids') return;
    if (name === 'topics' && !this.#lastTopic?.equals(key)) {
      this.#topics++;
      this.#lastTopic = Buffer.from(key);
    }
    const place = readPlace(value);
    if (!place) {
      this.#problems.push(`the index of ${name} names what is no position`);
    } else if (!this.#isExplained(place)) {
      this.#found[name].add(checksum(place, key));
    }
  }

  /** Whether an index names an entry that is damaged, or one that was so when it was trimmed. */
  #isExplained(place: Place): boolean {
    if (this.#damagedPositions.size === 0 && this.#lost.size === 0) return false;
    const position = toPosition(place);
    return this.#damagedPositions.has(position) || this.#lost.has(position);
  }

  #compare(names: readonly string[]): void {
    this.#problems.push(...this.#damagedFacts);
    for (const name of Object.keys(TREE_FLAGS)) {
      if (!names.includes(name)) this.#problems.push(`${name} are missing`);
    }
    for (const name of names) {
      if (name !== OLD_TREE && !Object.hasOwn(TREE_FLAGS, name))
        this.#problems.push('it has a tree of another name');
    }
    if (!this.#state && this.#oldest) this.#problems.push('its ledger lacks the state');
    if (this.#epochs.size > 0) this.#problems.push('the index of epochs lacks one');
    for (const name of ['topics', 'own ids'] as const) {
      if (!this.#expected[name].equals(this.#found[name])) {
        this.#problems.push(`the index of ${name} does not name what the entries have`);
      }
    }
  }
}

/** A sum of checksums in any order: the same for the same set, and for no other that is likely. */
class Sum {
  #count = 0;
  #plain = 0;
  #mixed = 0;

  add(value: number): void {
    this.#count++;
    this.#plain = (this.#plain + value) >>> 0;
    // Checksums of similar texts differ by similar amounts, which could cancel each other out in a plain sum.
    this.#mixed = (this.#mixed + Math.imul(value ^ (value >>> 15), 0x85ebca6b)) >>> 0;
  }

  equals(other: Sum): boolean {
    return (
      this.#count === other.#count && this.#plain === other.#plain && this.#mixed === other.#mixed
    );
  }
}

/** Runs through what yields undefined now and then, and gives way to others there. */
async function inTurns<T>(
  steps: Iterable<T | undefined>,
  take: (value: T) => void = () => {},
): Promise<void> {
  let turnEnds = performance.now() + TURN_MS;
  for (const value of steps) {
    if (value !== undefined) take(value);
    else if (performance.now() > turnEnds) {
      await new Promise(setImmediate);
      turnEnds = performance.now() + TURN_MS;
    }
  }
}
