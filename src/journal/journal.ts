/**
 * The contract of a journal: the ordered record of updates that publishing appends to and everything else
 * reads from. Its keepers know no HTTP and no SSE.
 *
 * A journal may be appended to by other processes as well; what they append is followed and read like this
 * process's own.
 */

/** What a publisher publishes. Its text is well-formed Unicode; nobody changes it once it is handed over. */
export interface Update {
  /** The names it is published under, the canonical one first; no topic twice; each 1 to 1,024 bytes of UTF-8. */
  readonly topics: readonly string[];
  /** The payload. */
  readonly data: string;
  /** The SSE event name. */
  readonly type?: string | undefined;
  /** Milliseconds until a client reconnects. */
  readonly retry?: number | undefined;
  /** Only for subscribers with a grant for one of its topics. */
  readonly private: boolean;
  /**
   * The publisher's own id, 1 to 256 bytes of UTF-8 and never of the form of a position. Without one the
   * journal gives it its position.
   */
  readonly id?: string | undefined;
  /**
   * Within what its own id is one, 1 to 256 bytes of UTF-8; opaque here. The same id in another scope, or
   * without one, is the id of another update.
   */
  readonly scope?: string | undefined;
  /** To whose share of the retention it counts, 1 to 256 bytes of UTF-8. All without one have one share. */
  readonly publisher?: string | undefined;
  /**
   * It tells a state and is no history, as announcements of presence do. Such updates are kept apart from the
   * others: see {@link Retention.maxTransient}.
   */
  readonly transient?: boolean | undefined;
  /** It is the last of all its topics: these have ended with it. Not of a transient one. */
  readonly last?: boolean | undefined;
  /**
   * Its topics may have ended; they go on with it. Without it an append to an ended topic is refused. It is no part of the
   * update's content, and not kept.
   */
  readonly reopen?: boolean | undefined;
}

/**
 * Where an entry stands: `<epoch>-<sequence>`, two integers without leading zeros. The epoch, in milliseconds
 * since 1970, never decreases and the sequence increases within it, so positions are ordered and never reused, restarts
 * included. Compare with {@link comparePositions}.
 */
export type Position = string;

/** An update that is in the journal. Immutable, and shared by all who read it. `last` and `transient` are true or undefined. */
export interface Entry extends Omit<Update, 'reopen'> {
  /** Its publisher's own id, or its position. */
  readonly id: string;
  /** Where it stands. */
  readonly position: Position;
}

/** Names one entry both ways. */
export type EntryRef = Pick<Entry, 'id' | 'position'>;

/** Before every position of any journal. */
export const BEGINNING: Position = '0-0';

/** How an append is made. */
export interface AppendOptions {
  /** Makes a repeat of the call safe: see {@link Journal.append}. */
  readonly key?: AppendKey | undefined;
}

/** What an append is known by when it is repeated. */
export interface AppendKey {
  /** 1 to 1,024 bytes of UTF-8; opaque here. */
  readonly key: string;
  /** Stands for what is appended under the key: the same digest, the same updates. 1 to 64 bytes. */
  readonly digest: string;
  /**
   * To whose share of the remembered keys it counts, 1 to 256 bytes of UTF-8: one publisher's keys do not push out those
   * of another. All without one have one share.
   */
  readonly publisher?: string | undefined;
}

/** How long a key is remembered. */
export const KEY_MAX_AGE_MS = 24 * 60 * 60 * 1000;

/**
 * So many bytes of keys are remembered, some 34,000 keys with digests of 43 bytes. A key counts as its text, its digest
 * and its publisher in UTF-8 and 350 bytes, a publisher as 250, and each series of entries that stand next to each other
 * as 30: a key has one, unless some of its updates were held before.
 */
export const MAX_KEYS_BYTES = 16 * 1024 * 1024;

/** The end of some topics, which came with one update. */
export interface Ending {
  /** Those of the update's topics that have not been reopened since; at least one. */
  readonly ended: readonly string[];
  /** The last update: where it stands, and who may know of it. `topics` are all of the update's. */
  readonly update: Pick<Entry, 'id' | 'position' | 'topics' | 'private' | 'publisher'>;
}

/** How long an ending is remembered, unless there are too many. */
export const ENDING_MAX_AGE_MS = 7 * 24 * 60 * 60 * 1000;

/**
 * So many bytes of endings are remembered, some 33,000 endings of one topic of 30 bytes. An ending counts as its update's
 * topics, own id and publisher in UTF-8, as 350 bytes, and as 120 for each topic; a publisher as 250. It counts the same
 * until all of its topics have been reopened.
 */
export const MAX_ENDINGS_BYTES = 16 * 1024 * 1024;

/** Whoever follows a journal. What it is told stands in the order of positions, and comes one call after the other. */
export interface Follower {
  /** The next entries, at least one. Does not throw. */
  entries(entries: readonly Entry[]): void;
  /**
   * The place was lost: of the entries after the last one told, up to this position, some or all are not told. They
   * may be held still, or trimmed: reading tells. What is told next stands after it. Does not throw.
   *
   * @param through not before the last entry told; `locate` knows it as it knows the positions of entries.
   */
  lost(through: Position): void;
}

/** A follower that is told, from {@link Journal.follow} until it is closed. */
export interface Following {
  /** Where it began: entries after this one are told. {@link BEGINNING} if the journal had none. */
  readonly after: Position;
  /** Ends it. No call after that. */
  close(): void;
}

/** Which entries are read, and how many at most. */
export interface ReadRange {
  /** Entries after this one; from the oldest held without it. It need not be held itself. */
  readonly after?: Position | undefined;
  /**
   * Entries from this one on, itself included if it is held. Not together with `after`. What the result says of
   * trimmed entries is then of those after this one, and of itself.
   */
  readonly from?: Position | undefined;
  /** No entries after this one. */
  readonly through?: Position | undefined;
  /**
   * Only entries with at least one of these topics, each entry once. The cost is in proportion to the
   * entries of these topics times how many topics there are, not to the length of the journal.
   */
  readonly topics?: readonly string[] | undefined;
  /** At most so many entries… */
  readonly maxEntries: number;
  /** …and no more once their data has this many UTF-16 units; at least one is always returned. */
  readonly maxLength: number;
}

/** Entries that were read, and what is missing between them. */
export interface ReadResult {
  /** In order of position, as many as the range's maxima allow: fewer only if the range holds no more. */
  readonly entries: readonly Entry[];
  /**
   * Entries after `after` may have been trimmed away: the reader may have missed updates, of any topic. Some
   * may be trimmed from between others that are held, and then this is true of every `after` before the
   * newest that was trimmed. Of which topics they were, {@link Journal.trimmedTopics} tells.
   */
  readonly trimmed: boolean;
  /**
   * The newest position that was trimmed, if `trimmed`. A reader who was told of all up to here need not be
   * told again when it reads on from a position that is still before it.
   */
  readonly trimmedThrough?: Position | undefined;
  /** Transient entries after `after` have been trimmed away. They do not make `trimmed` true. */
  readonly trimmedTransient: boolean;
  /**
   * Entries of the range were left out because they are damaged, before the last one that is returned, or, if the
   * range holds no more, behind it: the reader has missed updates. Keepers that cannot have any leave it out.
   */
  readonly damaged?: boolean | undefined;
}

/** How many entries {@link Journal.newest} gives of each topic. */
export interface NewestOptions {
  /** At most so many entries of each topic. */
  readonly count: number;
  /** Only entries before this position. */
  readonly before?: Position | undefined;
  /** In UTF-16 units of data: a topic's list grows no more once it has so many. */
  readonly maxLength?: number | undefined;
}

/**
 * Where an id stands: at a position that can be read on from, or not in the journal, and why. `trimmed` is
 * told of ids that are positions, which show their age; a publisher's own id is forgotten with its entry.
 */
export type Location =
  | {
      /** It can be read on from. */
      readonly found: true;
      /** Where it stands. */
      readonly position: Position;
    }
  | {
      /** It cannot be read on from. */
      readonly found: false;
      /** Why not. */
      readonly reason: 'trimmed' | 'unknown';
    };

/** Public or private entries of a topic. */
export interface TrimmedTopic {
  /** The topic. */
  readonly topic: string;
  /** Whether they are private. */
  readonly private: boolean;
}

/** What decides whether somebody may know of an entry. */
export type Visibility = Pick<Entry, 'topics' | 'private'>;

/** An ordered record of updates: appended to, followed, read. Its methods may be called side by side. */
export interface Journal {
  /**
   * Appends updates, all or none, next to each other and in their order, and resolves with where they
   * stand once they are durable as configured. Concurrent calls share a commit. An update whose own id is
   * held already in its scope, with the same content, is not appended again: its ref is that of the first.
   * Held is what has not been trimmed, what shares the commit, and what stands earlier in the same call. It ends
   * within a bounded time, also where the journal cannot be reached.
   *
   * An append under a key that is remembered is not made again: it is answered with the refs of the first one, also
   * when these entries have been trimmed. A call with a key that is under way waits for the end of the first one; if that
   * one fails, the call is made anew. A key is remembered in the same atomic step as its updates are appended, for
   * {@link KEY_MAX_AGE_MS}, and over restarts as the entries are. Together the keys come to at most
   * {@link MAX_KEYS_BYTES}: beyond that, the oldest key is forgotten of the publisher that holds most of them, if that is
   * more than a 256th; otherwise the oldest key of all.
   *
   * With an update that is the `last`, its topics have ended. After that, an update of one of them is refused without
   * `reopen`, and all of its call with it; with `reopen` the topics go on, from this update on. With both, they have ended
   * anew. What stands earlier in the same call or commit counts. What is not appended again (see above) is answered as
   * before, also when a topic has ended since, and neither ends nor reopens one. `last` is part of an update's content;
   * `reopen` is not. {@link Journal.endings} says how endings are remembered.
   *
   * @throws {JournalError} ERR_ID_TAKEN: an own id is held in its scope with other content; nothing was appended.
   *   ERR_TOPIC_ENDED: a topic, which the message names, has ended; nothing was appended.
   *   ERR_KEY_TAKEN: the key is remembered with another digest; nothing was appended.
   *   ERR_JOURNAL_UNAVAILABLE: it could not be made durable; nothing was appended. ERR_JOURNAL_OUTCOME_UNKNOWN:
   *   whether the updates were appended is not known; a repeat under the same key, or with own ids, leaves them there
   *   once. ERR_JOURNAL_CLOSED.
   * @throws {RangeError} a key, its digest or its publisher is not of the length that {@link AppendKey} says.
   */
  append(updates: readonly Update[], options?: AppendOptions): Promise<readonly EntryRef[]>;

  /**
   * Tells a follower every entry after a position, whoever appended it, in order of position and each once; those
   * appended here before their `append` resolves. What a follower appends follows in a later call.
   *
   * @param after without it, the newest entry that is durable now. One beyond that is the same. Where entries after it
   *   have been trimmed, the follower is first told that its place was lost.
   * @returns when it follows: from then on nothing is missed without `lost`. The follower may have been told of entries
   *   before.
   * @throws {JournalError} ERR_JOURNAL_UNAVAILABLE, ERR_JOURNAL_CLOSED; then the follower is told nothing more.
   */
  follow(follower: Follower, after?: Position): Promise<Following>;

  /** Reads entries of a range, in order. Call again with `after` the last one's position for more. */
  read(range: ReadRange): Promise<ReadResult>;

  /**
   * Of which topics entries after a position have been trimmed; undefined if that may be of any topic. It is known of
   * entries that were trimmed from between others that are held, as those of a publisher beyond its share, and for as
   * long as they have no more than 10,000 topics. Rather a topic too many than one too few. Transient entries do not
   * count.
   *
   * @param of - only these topics are looked for; without it all are.
   */
  trimmedTopics(
    after: Position,
    of?: readonly string[],
  ): Promise<readonly TrimmedTopic[] | undefined>;

  /**
   * Finds the position of an id. A position is found as well, also that of an entry with its publisher's
   * own id, and of one that was trimmed, unless entries of any topic were trimmed after it: then it is `trimmed`.
   * The newest that was trimmed is also found by its own id.
   *
   * @param admits - own ids of other entries are `unknown`, as if they had never been. Positions are not
   *   asked about. If several entries with the id are left, of several scopes, the oldest is found: who reads
   *   on from there may get updates again, and misses none.
   */
  locate(id: string, admits?: (entry: Visibility) => boolean): Promise<Location>;

  /**
   * All topics of the entries held, in no order, in pages of at most 1,000. Each page is a turn of its own and
   * nothing is held between pages. Topics that come or go meanwhile may be in it or not.
   */
  topics(): AsyncIterable<readonly string[]>;

  /**
   * The newest entries held of each of these topics: one list for each, in the order of the topics, of which there are
   * at most 1,000. A list has at most `count` entries, in order of position; with `before`, the newest of those before
   * that position. It has no more once their data has `maxLength` UTF-16 units, but at least one. It is empty only if
   * there are none.
   */
  newest(topics: readonly string[], options: NewestOptions): Promise<readonly (readonly Entry[])[]>;

  /**
   * The endings that are remembered, in no order, in pages of at most 1,000. Each page is a turn of its own and
   * nothing is held between pages. Endings that come or go meanwhile may be in it or not.
   *
   * An ending is remembered in the same atomic step as its update is appended, for {@link ENDING_MAX_AGE_MS}, and over
   * restarts as the entries are, also when its entry has been trimmed. Together the endings come to at most
   * {@link MAX_ENDINGS_BYTES}: beyond that, the oldest ending is forgotten of the publisher that holds most of them, if
   * that is more than a 256th; otherwise the oldest of all. A topic whose ending was forgotten is one like any other.
   *
   * Followers are told nothing of this but entries: one that is the `last` ends its topics, and any later one of a topic
   * says that the topic goes on.
   */
  endings(): AsyncIterable<readonly Ending[]>;

  /** The oldest and the newest entry held; both undefined if there is none. */
  bounds(): Promise<{
    /** The oldest entry. */
    readonly oldest: EntryRef | undefined;
    /** The newest entry. */
    readonly head: EntryRef | undefined;
  }>;

  /**
   * Resolves if the journal can be appended to and read. It has found that out then: it has written what takes room but is
   * no entry, and read. An append of usual size would have succeeded, as far as that can be known without one.
   *
   * @throws {JournalError} ERR_JOURNAL_UNAVAILABLE.
   */
  ping(): Promise<void>;

  /** What it holds, for the operator. A journal may leave it out. @throws {JournalError} ERR_JOURNAL_UNAVAILABLE. */
  measure?(): Promise<JournalSize>;

  /**
   * Finishes the appends under way and lets go of everything; later calls throw ERR_JOURNAL_CLOSED, except
   * that closing again waits for the same end.
   */
  close(): Promise<void>;
}

/** What a journal holds, as its {@link Retention} counts it, and how its server is reached, if it has one. */
export interface JournalSize {
  /** Updates held, without transient ones. */
  readonly updates: number;
  /** Bytes of these. */
  readonly bytes: number;
  /** How long ago the oldest update held was appended, in milliseconds; undefined if none is held. */
  readonly oldestAgeMs: number | undefined;
  /** How often this process has tried to reach the server since the first time it did. */
  readonly retries?: number;
}

/**
 * What a journal keeps. It trims entries beyond any of the limits, in small steps.
 *
 * What is too old goes in order, whoever published it. Beyond `maxUpdates` or `maxBytes` goes the oldest of
 * the publisher that holds more than `publisherShare` of that limit; if there is none, the oldest of all. So
 * nobody's flood takes more from the others than its share, and who is alone has everything.
 */
export interface Retention {
  /** At most so many updates. */
  readonly maxUpdates: number;
  /**
   * At most so many bytes: of each update, its topics, data, type and own id in UTF-8, and what the keeper takes
   * beside them: on disk 200 bytes and another 50 for each topic, in memory 250 and 200. 0, the default, is no limit.
   */
  readonly maxBytes?: number;
  /** No update older than this; 0 keeps them whatever their age. */
  readonly maxAgeMs: number;
  /** The fraction of a limit beyond which a publisher's own updates go first. 1 turns it off. Default: 0.5. */
  readonly publisherShare?: number;
  /**
   * At most so many transient updates, and 16 MiB of them. They count to no other limit but that of age, and
   * trim no others. Default: 10,000.
   */
  readonly maxTransient?: number;
}

/** Why a journal has failed: see the method that throws it. */
export type JournalErrorCode =
  | 'ERR_JOURNAL_OPEN'
  | 'ERR_JOURNAL_UNAVAILABLE'
  | 'ERR_JOURNAL_OUTCOME_UNKNOWN'
  | 'ERR_JOURNAL_CLOSED'
  | 'ERR_ID_TAKEN'
  | 'ERR_KEY_TAKEN'
  | 'ERR_TOPIC_ENDED';

/** What a journal throws. Its message is written for the operator. */
export class JournalError extends Error {
  /** Why it has failed. */
  readonly code: JournalErrorCode;

  constructor(code: JournalErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'JournalError';
    this.code = code;
  }
}

/** Orders two positions: negative if `a` is before `b`, 0 if they are the same, positive if after. */
export function comparePositions(a: Position, b: Position): number {
  // Most have as many digits, and then are in the order of their texts, which is found three times as fast.
  if (a.length === b.length && a.indexOf('-') === b.indexOf('-')) {
    if (a === b) return 0;
    return a < b ? -1 : 1;
  }
  const [aEpoch, aSequence] = parsePosition(a);
  const [bEpoch, bSequence] = parsePosition(b);
  return aEpoch - bEpoch || aSequence - bSequence;
}

/** A position that nothing stands between this one and it: to read up to this one and no further. */
export function positionAfter(position: Position): Position {
  const [epoch, sequence] = parsePosition(position);
  return `${epoch}-${sequence + 1}`;
}

/** Whether a text has the form of a position, which no publisher's own id may have. */
export function isPosition(text: string): boolean {
  return /^[1-9]\d{12,15}-(0|[1-9]\d{0,15})$/.test(text);
}

/** The two numbers of a position. */
export function parsePosition(position: Position): [epoch: number, sequence: number] {
  const dash = position.indexOf('-');
  return [Number(position.slice(0, dash)), Number(position.slice(dash + 1))];
}
