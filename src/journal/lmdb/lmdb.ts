import { resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { keyError } from '../append-keys.js';
import {
  type Append,
  ageCheckMs,
  closedError,
  type Plan,
  plan,
  settle,
  takeWaiting,
  toRef,
} from '../commit.js';
import { Followers } from '../followers.js';
import {
  type AppendKey,
  type AppendOptions,
  BEGINNING,
  comparePositions,
  type Ending,
  type Entry,
  type EntryRef,
  type Follower,
  type Following,
  isPosition,
  type Journal,
  JournalError,
  type JournalSize,
  type Location,
  type NewestOptions,
  type Position,
  parsePosition,
  type ReadRange,
  type ReadResult,
  type Retention,
  type TrimmedTopic,
  type Update,
} from '../journal.js';
import { JournalClock } from '../journal-clock.js';
import {
  admitsAll,
  later,
  mergeDistinct,
  TOPICS_PER_PAGE,
  takeWithin,
  trimmedIn,
} from '../select.js';
import { type DamageReport, Damages } from './damage.js';
import { LmdbEndings } from './endings.js';
import { comparePlaces, decodeEntry, type Place, stampOf, toEntry, toPosition } from './entry.js';
import { type Databases, damagedError, messageOf, type OpenFiles, openFiles } from './files.js';
import { LmdbKeys } from './keys.js';
import { Ledger, type LedgerChange, ledgerState } from './ledger.js';
import { RecordEncoder } from './records.js';

export interface LmdbJournalOptions extends Retention {
  /** A directory, which is made if there is none. It belongs to the journal alone. */
  readonly path: string;
  /**
   * When an append is durable: once it is on the `disk`, which outlives a loss of power; or once the `os`
   * has it, which outlives a kill of the process only. After a loss of power, a journal that was left to
   * the `os` may not open again.
   */
  readonly sync: 'disk' | 'os';
  /**
   * Is told of entries that are damaged, each once: those that were found when the journal was opened, before it is
   * given out, and those that a read meets. They are left out of what is read.
   */
  readonly onDamage?: ((report: DamageReport) => void) | undefined;
}

/**
 * Opens a journal in a directory of this machine. One process has it at a time.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN.
 */
export async function openLmdbJournal(options: LmdbJournalOptions): Promise<Journal> {
  const path = resolve(options.path);
  const files = await openFiles(path, options.sync);
  try {
    return new LmdbJournal(files, options);
  } catch (error) {
    await files.close();
    throw damagedError(path, error);
  }
}

/**
 * Each commit trims as much as it appends, in updates and in bytes, and up to so many updates more. However
 * much there is to trim, an append waits no longer than for this.
 */
const TRIM_STEP = 256;

/**
 * What a ping writes. On a full disk the pages that are free in the file still take what is little: a ping is to find out
 * whether updates of usual size find room.
 */
const PINGED = 'x'.repeat(64 * 1024);

/** LMDB's keys have at most 1,978 bytes; no topic or id comes near. */
const MAX_KEY_BYTES = 1024;

class LmdbJournal implements Journal {
  readonly #databases: Databases;
  readonly #ledger: Ledger;
  readonly #keys: LmdbKeys;
  readonly #endings: LmdbEndings;
  readonly #clock: JournalClock;
  readonly #files: OpenFiles;
  readonly #damages: Damages;
  readonly #epoch: number;
  #nextSequence = 1;
  #epochIsStored = false;
  readonly #followers: Followers;
  #waiting: Append[] = [];
  #pings: Append[] = [];
  #running: Promise<void> | undefined;
  /** There is more to trim than the last commit did. */
  #isBehind = false;
  /** See {@link LmdbJournal.#fatalError}. */
  #failure: unknown;
  #closing: Promise<void> | undefined;
  readonly #ageCheck: NodeJS.Timeout | undefined;

  constructor(files: OpenFiles, { onDamage, ...retention }: LmdbJournalOptions) {
    const { databases } = files;
    this.#files = files;
    this.#databases = databases;
    this.#damages = new Damages(onDamage);
    this.#damages.found(files.damaged, files.damagedCount);
    this.#ledger = new Ledger(databases, retention);
    this.#keys = new LmdbKeys(databases.ledger);
    this.#endings = new LmdbEndings(databases.ledger);
    this.#clock = new JournalClock(this.#ledger.state.clock);
    this.#followers = new Followers(this, this.#newestEver());
    // Later than all before, also when the clock has been set back.
    const [newest = 0] = databases.epochs.getKeys({ reverse: true, limit: 1 });
    this.#epoch = Math.max(Date.now(), newest + 1);
    if (retention.maxAgeMs > 0) {
      this.#ageCheck = setInterval(() => this.#wake(), ageCheckMs(retention.maxAgeMs)).unref();
    }
    // The retention may be less than that of the last run.
    this.#wake();
  }

  append(updates: readonly Update[], { key }: AppendOptions = {}): Promise<readonly EntryRef[]> {
    if (!updates.every(hasKeys)) {
      // Now, for in the midst of a commit it would be too late.
      return Promise.reject(
        new RangeError(`Topics, ids and publishers have 1 to ${MAX_KEY_BYTES} bytes.`),
      );
    }
    const error = key && keyError(key);
    if (error) return Promise.reject(error);
    return this.#enqueue(this.#waiting, updates, key);
  }

  async ping(): Promise<void> {
    await this.#enqueue(this.#pings, []);
    await this.bounds();
  }

  async follow(follower: Follower, after?: Position): Promise<Following> {
    if (this.#closing) throw closedError();
    return this.#followers.add(follower, after);
  }

  async read(range: ReadRange): Promise<ReadResult> {
    return this.#look((databases) => {
      const { trimmed, trimmedTransient } = ledgerState(databases);
      const before = this.#damages.met;
      return {
        entries: takeWithin(range, this.#entriesOf(range)),
        ...trimmedIn(range, trimmed?.position, trimmedTransient),
        damaged: this.#damages.met > before || undefined,
      };
    });
  }

  async trimmedTopics(
    after: Position,
    of?: readonly string[],
  ): Promise<readonly TrimmedTopic[] | undefined> {
    return this.#look(() => this.#ledger.trimmedTopics.after(after, of));
  }

  async locate(id: string, admits = admitsAll): Promise<Location> {
    return this.#look((databases) => {
      const held = this.#heldWithOwnId(id, admits);
      if (held) return { found: true, position: held.position };
      const { trimmed, trimmedFront, trimmedTransient } = ledgerState(databases);
      if (trimmed && (id === trimmed.position || (id === trimmed.id && admits(trimmed)))) {
        return { found: true, position: trimmed.position };
      }
      if (!isPosition(id)) return { found: false, reason: 'unknown' };

      const { entries, epochs } = databases;
      const place = parsePosition(id);
      if (entries.doesExist(place)) return { found: true, position: id };
      const isOurs = epochs.doesExist(place[0]) && place[1] > 0;
      const isPast = (newest: Position | undefined): boolean =>
        newest !== undefined && comparePositions(id, newest) <= 0;
      if (isOurs && isPast(trimmedFront)) return { found: false, reason: 'trimmed' };
      // What was trimmed after it is known by its topics.
      if (isOurs && (isPast(trimmed?.position) || isPast(trimmedTransient))) {
        return { found: true, position: id };
      }
      return { found: false, reason: 'unknown' };
    });
  }

  async *topics(): AsyncGenerator<readonly string[]> {
    let start: Buffer | undefined;
    for (;;) {
      const range = { limit: TOPICS_PER_PAGE, ...(start === undefined ? {} : { start }) };
      // All of the page at once: a cursor that is left open would hold on to its snapshot.
      const page = this.#look(({ topics }) => [...topics.getKeys(range)]);
      const last = page.at(-1);
      if (last === undefined) return;
      yield page.map(String);
      if (page.length < TOPICS_PER_PAGE) return;
      start = Buffer.concat([last, Buffer.alloc(1)]); // The least key that comes after it.
      await nextTurn();
    }
  }

  async *endings(): AsyncGenerator<readonly Ending[]> {
    // They are in memory; that the files are there is asked as for all that is read.
    this.#look(() => undefined);
    for await (const page of this.#endings.pages(() => this.#clock.now())) {
      yield this.#look(() => page);
    }
  }

  async newest(
    topics: readonly string[],
    options: NewestOptions,
  ): Promise<readonly (readonly Entry[])[]> {
    return this.#look(() => topics.map((topic) => this.#newest(topic, options)));
  }

  async bounds(): Promise<{ oldest: EntryRef | undefined; head: EntryRef | undefined }> {
    return this.#look(({ entries }) => {
      const [oldest] = entries.getRange({ limit: 1 });
      const [head] = entries.getRange({ limit: 1, reverse: true });
      return {
        oldest: oldest && refAt(oldest),
        head: head && refAt(head),
      };
    });
  }

  async measure(): Promise<JournalSize> {
    return this.#look((databases) => {
      const { count, bytes } = ledgerState(databases).lasting;
      const [oldest] = databases.entries.getRange({ limit: 1 });
      const stored = oldest && decodeEntry(oldest.key, oldest.value);
      const oldestAgeMs = stored && Math.max(this.#clock.now() - stampOf(stored), 0);
      return { updates: count, bytes, oldestAgeMs };
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#ageCheck);
    await this.#running;
    this.#followers.close();
    await this.#files.close();
  }

  /** The newest entry that it has had, held or trimmed. */
  #newestEver(): Position {
    const { trimmed, trimmedTransient } = this.#ledger.state;
    const [newest] = this.#databases.entries.getKeys({ reverse: true, limit: 1 });
    return [newest && toPosition(newest), trimmed?.position, trimmedTransient].reduce<Position>(
      (latest, position) => (position === undefined ? latest : later(latest, position)),
      BEGINNING,
    );
  }

  #enqueue(
    queue: Append[],
    updates: readonly Update[],
    key?: AppendKey,
  ): Promise<readonly EntryRef[]> {
    if (this.#closing) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      queue.push({ updates, key, resolve, reject });
      this.#wake();
    });
  }

  #wake(): void {
    this.#running ??= this.#run();
  }

  /** Commits as long as there is something to commit; while one commit is written the next one gathers. */
  async #run(): Promise<void> {
    await undefined; // Whatever is appended in this turn shares the first commit.
    do {
      await this.#commit();
      if (this.#pings.length > 0) await this.#answerPings();
    } while (
      this.#waiting.length > 0 ||
      this.#pings.length > 0 ||
      (this.#isBehind && !this.#closing)
    );
    this.#running = undefined;
  }

  async #commit(): Promise<void> {
    const appends = takeWaiting(this.#waiting);
    let planned: Plan;
    try {
      if (this.#failure) throw this.#failure;
      this.#assertThere();
      const clock = this.#clock.read();
      planned = plan(
        appends,
        (id, scope) => this.#heldWithOwnId(id, (entry) => entry.scope === scope),
        (n) => toPosition([this.#epoch, this.#nextSequence + n]),
        (key) => this.#keys.find(key, clock.time),
        (topic) => this.#endings.hasEnded(topic, clock.time),
      );
      const change = this.#ledger.prepare(planned.entries, clock, TRIM_STEP);
      const { entries, keys } = planned;
      if (entries.length + change.outdated.length + keys.length > 0) {
        await this.#write(planned, change);
      }
      this.#isBehind = change.isBehind;
    } catch (error) {
      // Trimming goes on with the next append or check of ages: a full disk is not to be tried in a loop.
      this.#isBehind = false;
      const unavailable = this.#unavailable(error);
      for (const append of appends) append.reject(unavailable);
      return;
    }
    this.#nextSequence += planned.entries.length;
    this.#followers.tell(planned.entries);
    settle(appends, planned);
  }

  /** In a transaction of its own: an append that finds room is not to fail with a ping that does not. */
  async #answerPings(): Promise<void> {
    const pings = this.#pings.splice(0);
    const { root, facts } = this.#databases;
    try {
      if (this.#failure) throw this.#failure;
      this.#assertThere();
      const pinged = [this.#clock.now(), PINGED];
      try {
        await root.batch(() => {
          facts.put('pinged', pinged);
        });
      } catch (error) {
        this.#failure = this.#fatalError();
        throw await causeOf(error);
      }
      this.#assertThere();
      for (const ping of pings) ping.resolve([]);
    } catch (error) {
      const unavailable = this.#unavailable(error);
      for (const ping of pings) ping.reject(unavailable);
    }
  }

  /** Writes one transaction, and resolves when it is durable as configured. */
  async #write(planned: Plan, change: LedgerChange) {
    const { entries: added, keys } = planned;
    const { root, entries, topics, ids, epochs, facts } = this.#databases;
    const appendedAt = change.state.clock.time;
    const keysChange = this.#keys.prepare(keys, appendedAt);
    const endingsChange = this.#endings.prepare(planned.endings, appendedAt);
    const lost = this.#lostWith(change);
    const place: Place = [this.#epoch, this.#nextSequence];
    const encoder = new RecordEncoder();
    const toAdd = await encoder.added(added, place, appendedAt);
    const toRemove = await encoder.removed(change.outdated);
    const written = root.batch(() => {
      // Nothing in here may throw: what had been put until then would be committed.
      for (const { place, value, topics: keys, ownId } of toAdd) {
        entries.put(place, value);
        for (const key of keys) topics.put(key, place);
        if (ownId !== undefined) ids.put(ownId, place);
      }
      if (added.length > 0 && !this.#epochIsStored) epochs.put(this.#epoch, true);
      for (const { place, topics: keys, ownId } of toRemove) {
        entries.remove(place);
        for (const key of keys) topics.remove(key, place);
        if (ownId !== undefined) ids.remove(ownId, place);
      }
      if (lost.length > 0) facts.put('lost', lost);
      this.#ledger.write(change);
      this.#keys.write(keysChange);
      this.#endings.write(endingsChange);
    });
    try {
      await written;
    } catch (error) {
      this.#failure = this.#fatalError();
      this.#ledger.abandon(change);
      throw await causeOf(error);
    }
    this.#assertThere();
    this.#ledger.settle(change);
    this.#keys.settle(keysChange);
    this.#endings.settle(endingsChange);
    this.#epochIsStored ||= added.length > 0;
  }

  /** What is to be noted of damaged entries that are trimmed: the indexes go on naming them. */
  #lostWith({ outdated }: LedgerChange): readonly Position[] {
    const lost = outdated.filter(({ entry }) => entry === undefined);
    if (lost.length === 0) return [];
    const before = (this.#databases.facts.get('lost') as Position[] | undefined) ?? [];
    return [...before, ...lost.map(({ key }) => toPosition(key))];
  }

  /** Nothing is acknowledged that went to a file which nobody finds, also not when another one is there again. */
  #assertThere(): void {
    try {
      this.#files.assertThere('write');
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  /**
   * Why LMDB will do nothing more, if it has had an error after which it refuses everything. It refuses a
   * new snapshot then, and says so; a further write it would never answer.
   */
  #fatalError(): unknown {
    const { root, facts } = this.#databases;
    try {
      root.resetReadTxn();
      facts.get('format');
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #unavailable(error: unknown): JournalError {
    const remedy = this.#failure
      ? 'Restart this process once its disk works and its directory is there.'
      : 'See that its disk has room and works.';
    return new JournalError(
      'ERR_JOURNAL_UNAVAILABLE',
      `The journal cannot be written: ${messageOf(error)}. ${remedy}`,
      { cause: error },
    );
  }

  #entriesOf({ after, from, through, topics }: ReadRange): Iterable<Entry> {
    const databases = this.#databases;
    const range = {
      ...(after === undefined ? {} : { start: placeAfter(after) }),
      ...(from === undefined ? {} : { start: parsePosition(from) }),
      ...(through === undefined ? {} : { end: placeAfter(through) }),
    };
    if (topics === undefined) {
      return this.#whole(databases.entries.getRange(range));
    }
    const keys = topics.map(toKey).filter((key) => key !== undefined);
    const sources = keys.map((key) => databases.topics.getValues(key, range));
    return this.#whole(valuesAt(databases, mergeDistinct(sources, comparePlaces)));
  }

  #newest(
    topic: string,
    { count, before, maxLength = Number.POSITIVE_INFINITY }: NewestOptions,
  ): Entry[] {
    const key = toKey(topic);
    if (!key || count === 0) return [];
    const places = this.#databases.topics.getValues(key, {
      reverse: true,
      limit: count,
      ...(before === undefined ? {} : { start: placeBefore(before) }),
    });
    const newestFirst = this.#whole(valuesAt(this.#databases, [...places]));
    return takeWithin({ maxEntries: count, maxLength }, newestFirst).reverse();
  }

  /** The oldest entry with an own id that is admitted. */
  #heldWithOwnId(id: string, admits: (entry: Entry) => boolean): Entry | undefined {
    const { ids } = this.#databases;
    const key = toKey(id);
    // Most ids are new, which a look for one place tells quicker than for all.
    if (key === undefined || ids.get(key) === undefined) return undefined;
    for (const entry of this.#whole(valuesAt(this.#databases, ids.getValues(key)))) {
      if (admits(entry)) return entry;
    }
    return undefined;
  }

  /** The entries that are whole; those that are not are met as damage. */
  *#whole(values: Iterable<KeyedValue>): Generator<Entry> {
    for (const { key, value } of values) {
      const stored = value && decodeEntry(key, value);
      if (stored) yield toEntry(key, stored);
      else if (value || !this.#isTrimmed(key)) this.#damages.meet(key);
    }
  }

  /** Whether an index names what has been trimmed, which it does if that was damaged. */
  #isTrimmed(place: Place): boolean {
    const { trimmed } = ledgerState(this.#databases);
    return trimmed !== undefined && comparePlaces(place, parsePosition(trimmed.position)) <= 0;
  }

  /** Reads in one snapshot: LMDB keeps the one it has begun with until the end of this turn. */
  #look<T>(reader: (databases: Databases) => T): T {
    if (this.#closing) throw closedError();
    try {
      this.#files.assertThere('read');
      return reader(this.#databases);
    } catch (error) {
      throw new JournalError(
        'ERR_JOURNAL_UNAVAILABLE',
        `The journal cannot be read: ${messageOf(error)}. See that its disk works.`,
        { cause: error },
      );
    }
  }
}

interface KeyedValue {
  readonly key: Place;
  /** Undefined if an index names an entry that is not there. */
  readonly value: Buffer | undefined;
}

function* valuesAt({ entries }: Databases, places: Iterable<Place>): Generator<KeyedValue> {
  for (const key of places) yield { key, value: entries.get(key) };
}

/** A damaged entry is known by its position alone. */
function refAt({ key, value }: KeyedValue): EntryRef {
  const stored = value && decodeEntry(key, value);
  const position = toPosition(key);
  return stored ? toRef(toEntry(key, stored)) : { id: position, position };
}

function placeAfter(position: Position): Place {
  const [epoch, sequence] = parsePosition(position);
  return [epoch, sequence + 1];
}

/** At or before which the entries before a position are. */
function placeBefore(position: Position): Place {
  const [epoch, sequence] = parsePosition(position);
  return [epoch, sequence - 1];
}

function hasKeys({ topics, id, publisher }: Update): boolean {
  return (
    topics.every(isKey) &&
    (id === undefined || isKey(id)) &&
    (publisher === undefined || isKey(publisher))
  );
}

function isKey(text: string): boolean {
  // A character has at most three bytes, so most need not be counted.
  return (
    text !== '' && (3 * text.length <= MAX_KEY_BYTES || Buffer.byteLength(text) <= MAX_KEY_BYTES)
  );
}

/** A topic or an id as a key, if it can be one: clients may ask for anything. */
function toKey(text: string): Buffer | undefined {
  return isKey(text) ? Buffer.from(text) : undefined;
}

/** LMDB's error says only that the commit has failed, and carries a promise which is rejected with why. */
async function causeOf(error: unknown): Promise<unknown> {
  const { commitError } = error as { commitError?: Promise<never> };
  return commitError?.catch((cause: unknown) => cause) ?? error;
}
