/** What an LMDB journal keeps beside its entries: what they come to, whose they are, and what was trimmed. */

import type { Database } from 'lmdb';
import type { Retention } from '../journal.js';
import { comparePositions, type Entry, type Position, parsePosition } from '../journal.js';
import type { ClockState } from '../journal-clock.js';
import {
  DISK_OVERHEAD,
  type Holding,
  lastingLimits,
  MIN_UPDATE_BYTES,
  minus,
  NOTHING,
  overWhich,
  ownerOf,
  plus,
  Shares,
  sizeOf,
  TRANSIENT,
  transientLimits,
} from '../retention.js';
import { type LastTrimmed, later } from '../select.js';
import { type TrimmedChanges, type TrimmedRecord, TrimmedTopics } from '../trimmed-topics.js';
import { decodeEntry, type Place, stampOf, toPosition } from './entry.js';
import { Front, type FrontPlace, type KeyedEntry, toKeyed } from './front.js';

/** What is known of all entries; one value, which every commit writes. */
export interface LedgerState {
  /** What the entries come to that are not transient. */
  readonly lasting: Holding;
  readonly transient: Holding;
  readonly trimmed?: LastTrimmed | undefined;
  /** Entries of any topic may have been trimmed up to here; see {@link TrimmedTopics}. */
  readonly trimmedFront?: Position | undefined;
  readonly trimmedTransient?: Position | undefined;
  /** Undefined before the first commit. */
  readonly clock?: ClockState | undefined;
}

/**
 * All of the ledger, in the database of the journal's facts:
 *
 * - `['state']`: the {@link LedgerState}.
 * - `['holds', owner]`: what an owner holds.
 * - `['run', owner, ...last]`: the sequence of the first of a run, which is consecutive entries of one owner
 *   in one commit. So an owner's oldest entries are found without an index of every entry, which would make
 *   each append dearer.
 * - `['trimmed topic', slot]`: a topic of which entries were trimmed from between others; see {@link TrimmedTopics}.
 * - `['key', number]`: a key that is remembered; see {@link file://./keys.ts}.
 * - `['ending', number]` and `['reopened', number]`: an ending that is remembered; see {@link file://./endings.ts}.
 * - `['size', kind, magnitude, owner]`: the owners by how much they hold, in steps of a factor of 16, so that
 *   it seldom changes. Those with more than their share are found at a start without a look at all others.
 */
export type LedgerDatabase = Database<unknown, LedgerKey>;
type LedgerKey =
  | ['state']
  | ['holds', owner: string]
  | RunKey
  | ['trimmed topic', slot: number]
  | ['key', number: number]
  | ['ending', number: number]
  | ['reopened', number: number]
  | ['size', kind: keyof Holding, magnitude: number, owner: string];
type RunKey = ['run', owner: string, epoch: number, last: number];

interface LedgerDatabases {
  readonly entries: Database<Buffer, Place>;
  readonly ledger: LedgerDatabase;
}

/** What a commit does to the ledger. */
export interface LedgerChange {
  readonly state: CommittedState;
  /** The entries to trim. */
  readonly outdated: readonly KeyedEntry[];
  /** There is more to trim than one commit does. */
  readonly isBehind: boolean;
  readonly owners: ReadonlyMap<string, OwnerChange>;
  readonly runs: readonly Run[];
  /** The runs of which nothing is left. */
  readonly endedRuns: readonly RunKey[];
}

interface OwnerChange {
  readonly before: Holding;
  after: Holding;
  /** The newest of its entries that are trimmed: all of its are, up to here. */
  trimmedThrough: Place | undefined;
}

interface Run {
  readonly owner: string;
  readonly epoch: number;
  readonly first: number;
  readonly last: number;
}

/** More are looked up in the database. Each takes some 200 bytes. */
const MAX_KNOWN_OWNERS = 10_000;

const EMPTY: LedgerState = { lasting: NOTHING, transient: NOTHING };

/** The state that a snapshot of the database has. */
export function ledgerState({ ledger }: Pick<LedgerDatabases, 'ledger'>): LedgerState {
  const stored = ledger.get(['state']) as StoredState | undefined;
  return stored === undefined ? EMPTY : fromStoredState(stored);
}

export function fromStoredState(stored: StoredState): CommittedState {
  const [count, bytes, transientCount, transientBytes, trimmed, trimmedTransient, clock] = stored;
  // Earlier builds did not tell topics apart.
  const [, , , , , , , trimmedFront = trimmed?.position] = stored;
  const [time, wall, highWall, highTime] = clock;
  return {
    lasting: { count, bytes },
    transient: { count: transientCount, bytes: transientBytes },
    trimmed: trimmed ?? undefined,
    trimmedTransient: trimmedTransient ?? undefined,
    trimmedFront: trimmedFront ?? undefined,
    clock: { time, wall, highWall, highTime },
  };
}

/**
 * Keeps a journal's sums and finds what is to be trimmed. Each commit calls `prepare`, `write` within its
 * transaction, and `settle` or `abandon` when it is known how that ended.
 */
export class Ledger {
  readonly #databases: LedgerDatabases;
  readonly #retention: Retention;
  readonly #shares: Shares;
  #state: LedgerState;
  /** It is ahead of a commit that is written: rather a topic too many is told than one too few. */
  readonly #trimmedTopics: TrimmedTopics;
  #writtenTopics: TrimmedChanges = new Map();
  /** What the owners of the last commits hold, so that most commits need not look it up. */
  readonly #known = new Map<string, Holding>();
  #front: FrontPlace | undefined;

  constructor(databases: LedgerDatabases, retention: Retention) {
    this.#databases = databases;
    this.#retention = retention;
    this.#shares = new Shares(retention);
    this.#state = ledgerState(databases);
    this.#trimmedTopics = this.#readTrimmedTopics();
    this.#findHeaviest();
  }

  get trimmedTopics(): TrimmedTopics {
    return this.#trimmedTopics;
  }

  get state(): LedgerState {
    return this.#state;
  }

  /**
   * Finds what changes when entries are added.
   *
   * @param step - at most so many are trimmed beyond those that make up for the added.
   */
  prepare(added: readonly Entry[], clock: ClockState, step: number): LedgerChange {
    const draft = new Draft(
      this.#databases,
      this.#shares,
      this.#state,
      this.#known,
      this.#trimmedTopics,
      this.#front,
    );
    draft.add(added);
    // Each of those trimmed has at least MIN_UPDATE_BYTES: a flood of large updates does not outrun this.
    const addedBytes = minus(draft.lasting, this.#state.lasting).bytes;
    const most = added.length + Math.ceil(Math.max(addedBytes, 0) / MIN_UPDATE_BYTES) + step;
    let isBehind = false;
    let front: FrontPlace | undefined;
    try {
      const { maxAgeMs } = this.#retention;
      if (maxAgeMs > 0) draft.trimOlder(clock.time - maxAgeMs, most);
      draft.trimTransient(transientLimits(this.#retention), most);
      draft.trimLasting(lastingLimits(this.#retention), most);
      isBehind =
        draft.taken.size >= most ||
        overWhich(draft.lasting, lastingLimits(this.#retention)) !== undefined ||
        overWhich(draft.transient, transientLimits(this.#retention)) !== undefined;
    } finally {
      front = draft.close();
    }
    this.#front = front;
    const { taken, owners, runs } = draft;
    const hasEffect = added.length + taken.size > 0;
    return {
      state: draft.toState(clock),
      outdated: [...taken.values()],
      isBehind: isBehind && hasEffect,
      owners,
      runs,
      endedRuns: draft.endedRuns(),
    };
  }

  /** Puts a change, in the transaction of its entries. Does not throw. */
  write({ state, owners, runs, endedRuns }: LedgerChange): void {
    const { ledger } = this.#databases;
    ledger.put(['state'], toStoredState(state));
    for (const [owner, { before, after }] of owners) {
      if (after.count > 0) ledger.put(['holds', owner], after);
      else ledger.remove(['holds', owner]);
      for (const kind of ['count', 'bytes'] as const) {
        if (owner === TRANSIENT) break;
        const [old, now] = [magnitudeOf(before[kind]), magnitudeOf(after[kind])];
        if (old === now) continue;
        if (old >= 0) ledger.remove(['size', kind, old, owner]);
        if (now >= 0) ledger.put(['size', kind, now, owner], true);
      }
    }
    this.#writtenTopics = this.#trimmedTopics.takeChanges();
    for (const [slot, record] of this.#writtenTopics) ledger.put(['trimmed topic', slot], record);
    for (const key of endedRuns) ledger.remove(key);
    for (const { owner, epoch, first, last } of runs)
      ledger.put(['run', owner, epoch, last], first);
  }

  settle({ state, owners }: LedgerChange): void {
    this.#state = state;
    if (this.#known.size + owners.size > MAX_KNOWN_OWNERS) this.#known.clear();
    for (const [owner, { after }] of owners) this.#known.set(owner, after);
  }

  /** The change did not happen. */
  abandon({ owners }: LedgerChange): void {
    for (const [owner, { before }] of owners) {
      if (owner !== TRANSIENT) this.#shares.note(owner, before);
    }
    this.#known.clear();
    this.#front = undefined;
    this.#trimmedTopics.putBack(this.#writtenTopics);
  }

  #readTrimmedTopics(): TrimmedTopics {
    const { ledger } = this.#databases;
    const stored = ledger.getRange({
      start: ['trimmed topic', 0],
      end: ['trimmed topic', Number.MAX_SAFE_INTEGER],
    });
    const { trimmedFront } = ledgerState(this.#databases);
    return new TrimmedTopics(
      trimmedFront,
      stored.map(({ key, value }) => [key[1] as number, value as TrimmedRecord]),
    );
  }

  #findHeaviest(): void {
    const { ledger } = this.#databases;
    for (const kind of ['count', 'bytes'] as const) {
      const threshold = this.#shares.threshold[kind];
      if (threshold === Number.POSITIVE_INFINITY) continue;
      const owners = ledger.getKeys({
        start: ['size', kind, magnitudeOf(threshold), ''],
        end: ['size', kind, MAX_MAGNITUDE, ''],
      });
      for (const key of owners) {
        const owner = key.at(-1) as string;
        this.#shares.note(owner, holdingOf(ledger, owner));
      }
    }
  }
}

/** What a commit leaves. */
type CommittedState = LedgerState & { readonly clock: ClockState };

/** Without the names of its parts, since it is written with each commit. */
export type StoredState = [
  count: number,
  bytes: number,
  transientCount: number,
  transientBytes: number,
  trimmed: LastTrimmed | null,
  trimmedTransient: Position | null,
  clock: [time: number, wall: number, highWall: number, highTime: number],
  trimmedFront?: Position | null,
];

export function toStoredState(state: CommittedState): StoredState {
  const { lasting, transient, trimmed = null, trimmedTransient = null, clock } = state;
  const { trimmedFront = null } = state;
  const { time, wall, highWall, highTime } = clock;
  return [
    lasting.count,
    lasting.bytes,
    transient.count,
    transient.bytes,
    trimmed,
    trimmedTransient,
    [time, wall, highWall, highTime],
    trimmedFront,
  ];
}

/** A change in the making. */
class Draft {
  lasting: Holding;
  transient: Holding;
  readonly owners = new Map<string, OwnerChange>();
  readonly runs: Run[] = [];
  readonly taken = new Map<Position, KeyedEntry>();
  readonly #databases: LedgerDatabases;
  readonly #shares: Shares;
  readonly #before: LedgerState;
  readonly #known: ReadonlyMap<string, Holding>;
  #trimmed: LastTrimmed | undefined;
  #trimmedTransient: Position | undefined;
  readonly #oldestOf = new Map<string, Generator<KeyedEntry>>();
  readonly #trimmedTopics: TrimmedTopics;
  readonly #front: Front;

  constructor(
    databases: LedgerDatabases,
    shares: Shares,
    state: LedgerState,
    known: ReadonlyMap<string, Holding>,
    trimmedTopics: TrimmedTopics,
    front: FrontPlace | undefined,
  ) {
    this.#trimmedTopics = trimmedTopics;
    this.#front = new Front(databases, front, (key) => this.taken.has(toPosition(key)));
    this.#known = known;
    this.#databases = databases;
    this.#shares = shares;
    this.#before = state;
    this.lasting = state.lasting;
    this.transient = state.transient;
    this.#trimmed = state.trimmed;
    this.#trimmedTransient = state.trimmedTransient;
  }

  add(entries: readonly Entry[]): void {
    for (let start = 0; start < entries.length; ) {
      const first = entries[start] as Entry;
      let end = start;
      let bytes = 0;
      for (; end < entries.length && isOfSameOwner(first, entries[end] as Entry); end++) {
        bytes += sizeOf(entries[end] as Entry, DISK_OVERHEAD).bytes;
      }
      const owner = ownerOf(first);
      this.#count(owner, { count: end - start, bytes }, plus);
      const [epoch, sequence] = parsePosition(first.position);
      this.runs.push({ owner, epoch, first: sequence, last: sequence + end - start - 1 });
      start = end;
    }
  }

  trimOlder(appendedBefore: number, most: number): void {
    for (const { key, value } of this.#databases.entries.getRange({ limit: most })) {
      const stored = decodeEntry(key, value);
      // One that is damaged tells no time: it goes with those around it.
      if (this.taken.size >= most || (stored && stampOf(stored) >= appendedBefore)) return;
      this.#take(toKeyed(key, value));
    }
  }

  trimTransient(limits: Holding, most: number): void {
    while (this.taken.size < most && overWhich(this.transient, limits)) {
      const oldest = this.#nextOf(TRANSIENT);
      if (oldest === undefined) return;
      this.#take(oldest);
    }
  }

  trimLasting(limits: Holding, most: number): void {
    while (this.taken.size < most) {
      const kind = overWhich(this.lasting, limits);
      if (kind === undefined) break;
      const heaviest = this.#shares.heaviest(kind);
      let next = heaviest === undefined ? this.#front.oldest() : this.#nextOf(heaviest);
      // What is added now can be trimmed by the next commit; nothing else is in its stead.
      if (next === undefined && (heaviest === undefined || this.#hasAdded(heaviest))) break;
      // Damaged entries have gone that nobody could count out of what their owner holds.
      next ??= this.#front.oldest();
      if (next === undefined) break;
      this.#take(next);
    }
  }

  #hasAdded(owner: string): boolean {
    return this.runs.some((run) => run.owner === owner);
  }

  toState(clock: ClockState): CommittedState {
    const { lasting, transient } = this;
    const [trimmed, trimmedTransient] = [this.#trimmed, this.#trimmedTransient];
    const trimmedFront = this.#trimmedTopics.through;
    return { lasting, transient, trimmed, trimmedTransient, trimmedFront, clock };
  }

  endedRuns(): RunKey[] {
    const { ledger } = this.#databases;
    return [...this.owners].flatMap(([owner, { trimmedThrough }]) => {
      if (trimmedThrough === undefined) return [];
      const [epoch, sequence] = trimmedThrough;
      const range = runsOf(owner, epoch, sequence);
      return [...ledger.getKeys(range)] as RunKey[];
    });
  }

  /** Lets go of the cursors. Returns where the front is. */
  close(): FrontPlace | undefined {
    for (const entries of this.#oldestOf.values()) entries.return(undefined);
    return this.#front.close();
  }

  #take(taken: KeyedEntry): void {
    const { key, entry } = taken;
    const isOldest = !entry?.transient && this.#front.take(key);
    if (entry && !entry.transient) {
      if (isOldest) this.#trimmedTopics.addFront(entry.position);
      else this.#trimmedTopics.add(entry, entry.position);
    }
    this.taken.set(toPosition(key), taken);
    if (entry === undefined) {
      this.#takeDamaged(taken);
      return;
    }
    const owner = ownerOf(entry);
    this.#count(owner, sizeOf(entry, DISK_OVERHEAD), minus).trimmedThrough = key;
    if (owner === TRANSIENT) {
      this.#trimmedTransient = later(this.#trimmedTransient, entry.position);
    } else if (!this.#trimmed || comparePositions(entry.position, this.#trimmed.position) > 0) {
      const { id, position, topics, private: isPrivate } = entry;
      // Its own id is looked for as long as it is the newest; without one its topics are of no use.
      this.#trimmed = { id, position, topics: id === position ? [] : topics, private: isPrivate };
    }
  }

  /** Whose it was is not known: it goes from the sum alone. */
  #takeDamaged({ key, bytes = 0 }: KeyedEntry): void {
    const { lasting } = this;
    this.lasting = {
      count: Math.max(lasting.count - 1, 0),
      bytes: Math.max(lasting.bytes - bytes, 0),
    };
    const position = toPosition(key);
    this.#trimmedTopics.addFront(position);
    if (this.#trimmed && comparePositions(position, this.#trimmed.position) <= 0) return;
    this.#trimmed = { id: position, position, topics: [], private: true };
  }

  #count(owner: string, size: Holding, combine: typeof plus): OwnerChange {
    let change = this.owners.get(owner);
    if (change === undefined) {
      const before =
        owner === TRANSIENT
          ? this.#before.transient
          : (this.#known.get(owner) ?? holdingOf(this.#databases.ledger, owner));
      change = { before, after: before, trimmedThrough: undefined };
      this.owners.set(owner, change);
    }
    change.after = combine(change.after, size);
    if (owner === TRANSIENT) {
      this.transient = combine(this.transient, size);
    } else {
      this.lasting = combine(this.lasting, size);
      this.#shares.note(owner, change.after);
    }
    return change;
  }

  #nextOf(owner: string): KeyedEntry | undefined {
    const entries = this.#oldestOf.get(owner) ?? this.#entriesOf(owner);
    this.#oldestOf.set(owner, entries);
    return takeNext(entries);
  }

  *#entriesOf(owner: string): Generator<KeyedEntry> {
    const { ledger, entries } = this.#databases;
    for (const { key, value } of ledger.getRange(runsOf(owner))) {
      const [, , epoch, last] = key as RunKey;
      const run = entries.getRange({ start: [epoch, value as number], end: [epoch, last + 1] });
      for (const { key: place, value: bytes } of run) {
        if (!this.taken.has(toPosition(place))) yield toKeyed(place, bytes);
      }
    }
  }
}

function isOfSameOwner(a: Entry, b: Entry): boolean {
  return a.publisher === b.publisher && a.transient === b.transient;
}

function takeNext<T>(from: Generator<T>): T | undefined {
  const { done, value } = from.next();
  return done ? undefined : (value as T);
}

function holdingOf(ledger: LedgerDatabase, owner: string): Holding {
  return (ledger.get(['holds', owner]) as Holding | undefined) ?? NOTHING;
}

/** The runs of an owner that end at or before a place. */
function runsOf(
  owner: string,
  epoch = Number.MAX_SAFE_INTEGER,
  sequence = 0,
): { start: LedgerKey; end: LedgerKey } {
  return { start: ['run', owner, 0, 0], end: ['run', owner, epoch, sequence + 1] };
}

/** More than any number has. */
const MAX_MAGNITUDE = 1000;

/** Of nothing -1; 0 below 16, 1 below 256, and so on. */
function magnitudeOf(amount: number): number {
  return amount <= 0 ? -1 : Math.max(Math.floor(Math.log2(amount) / 4), 0);
}
