/** The journal in Redis Streams, which any number of processes share. Scripts do all that must be one step. */

import { randomUUID } from 'node:crypto';
import { keyError } from '../append-keys.js';
import { ageCheckMs, closedError } from '../commit.js';
import {
  type AppendOptions,
  BEGINNING,
  comparePositions,
  type Ending,
  type Entry,
  type EntryRef,
  type Follower,
  type Following,
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
import type { OnNotice } from '../notice.js';
import { admitsAll, later } from '../select.js';
import { ALLOWED, parseAddress } from './address.js';
import { Appender } from './appender.js';
import { Connection } from './connection.js';
import { confirm, type Durability, durabilityNotice } from './durability.js';
import { FORMAT } from './entry.js';
import { isNothingWritten, RefusedError, reasonText, UnfitError, unavailable } from './failures.js';
import { keysOf, MAX_KEY_BYTES } from './keys.js';
import type { Reply } from './line.js';
import { Reads } from './reads.js';
import { scriptLimits } from './retention-limits.js';
import { SCRIPTS } from './scripts.js';
import type { Session } from './session.js';
import { Tail } from './tail.js';
import { DEFAULT_PREFIX, redact } from './url.js';

export interface RedisJournalOptions extends Retention {
  /** Where Redis is; see {@link parseAddress}. */
  readonly url: string;
  /** All keys begin with this, in braces: journals with different ones know nothing of each other. */
  readonly prefix?: string | undefined;
  /** What an acknowledgement promises; see {@link Durability}. Default: `disk`, and no replicas. */
  readonly sync?: Durability['sync'] | undefined;
  readonly replicas?: number | undefined;
  /** Is told what an operator should know: that Redis is away or back, that updates are lost, what is promised. */
  readonly onNotice?: OnNotice | undefined;
  /** How long Redis is waited for at the start. Default: 15,000. */
  readonly openTimeoutMs?: number | undefined;
  /** For tests: the clock by which updates grow old, in place of that of Redis. */
  readonly now?: (() => number) | undefined;
}

const DEFAULT_OPEN_TIMEOUT_MS = 15_000;

/**
 * Opens a journal in Redis 6.2 or newer, or Valkey.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN.
 */
export async function openRedisJournal(options: RedisJournalOptions): Promise<Journal> {
  const { url, prefix = DEFAULT_PREFIX, openTimeoutMs = DEFAULT_OPEN_TIMEOUT_MS } = options;
  const address = parseAddress(url);
  if (address === undefined) {
    throw new JournalError(
      'ERR_JOURNAL_OPEN',
      `A journal in Redis is ${ALLOWED}, not ${JSON.stringify(redact(url))}.`,
    );
  }
  if (!/^[\w.:-]{1,64}$/.test(prefix)) {
    throw new JournalError(
      'ERR_JOURNAL_OPEN',
      `The prefix of a journal has 1 to 64 letters, digits and .:_-, not ${JSON.stringify(prefix)}.`,
    );
  }
  const journal = new RedisJournal({ ...options, prefix }, (prepare, onNotice) => {
    const name = `The journal ${prefix} at ${address.name}`;
    return new Connection({ address, name, prepare, onNotice });
  });
  try {
    await journal.open(openTimeoutMs);
    return journal;
  } catch (error) {
    await journal.close();
    throw new JournalError(
      'ERR_JOURNAL_OPEN',
      `The journal at ${address.name} cannot be opened: ${reasonText(error)}`,
      { cause: error },
    );
  }
}

class RedisJournal implements Journal {
  readonly #options: RedisJournalOptions & { readonly prefix: string };
  readonly #durability: Durability;
  readonly #keys: readonly string[];
  readonly #connection: Connection;
  readonly #reads: Reads;
  readonly #appender: Appender;
  readonly #tail: Tail;
  readonly #notify: OnNotice;
  /** Which journal is under the keys: another one after they were emptied. */
  #generation = '';
  /** The newest position that is known here. */
  #seen: Position = BEGINNING;
  #attaching: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #lastDurabilityNotice: string | undefined;
  #ageCheck: NodeJS.Timeout | undefined;

  constructor(
    options: RedisJournalOptions & { readonly prefix: string },
    connect: (prepare: (session: Session) => Promise<void>, onNotice: OnNotice) => Connection,
  ) {
    this.#options = options;
    this.#durability = { sync: options.sync ?? 'disk', replicas: options.replicas ?? 0 };
    this.#keys = keysOf(options.prefix);
    this.#notify = options.onNotice ?? (() => {});
    const connection = connect((session) => this.#prepare(session), this.#notify);
    this.#connection = connection;
    this.#reads = new Reads(this.#keys, async () => (await connection.soon()).read);
    const common = {
      keys: this.#keys,
      session: () => connection.soon(),
      generation: () => this.#generation,
      attach: (session: Session) => this.#attach(session),
    };
    this.#tail = new Tail({
      ...common,
      reads: this.#reads,
      whenUp: () => connection.whenUp(),
      whenWritten: () => this.#appender.whenWritten(),
      renew: (session, reason) => connection.renew(session, reason),
    });
    this.#appender = new Appender({
      ...common,
      limits: scriptLimits(options),
      now: options.now,
      seen: () => this.#newestSeen(),
      renew: (session, reason) => {
        if (
          reason instanceof UnfitError ||
          (reason instanceof RefusedError && reason.isOfConnection)
        ) {
          connection.renew(session, reason);
        }
      },
      confirm: (session) => confirm(session, this.#durability),
      appended: (before, entries) => this.#appended(before, entries),
    });
  }

  async open(timeoutMs: number): Promise<void> {
    await this.#connection.open(timeoutMs);
    const { maxAgeMs } = this.#options;
    // The retention may be less than that of the last run.
    this.#appender.trim();
    if (maxAgeMs === 0) return;
    this.#ageCheck = setInterval(() => this.#appender.trim(), ageCheckMs(maxAgeMs)).unref();
  }

  async append(
    updates: readonly Update[],
    { key }: AppendOptions = {},
  ): Promise<readonly EntryRef[]> {
    this.#assertOpen();
    if (!updates.every(hasKeys)) {
      throw new RangeError(`Topics, ids and publishers have 1 to ${MAX_KEY_BYTES} bytes.`);
    }
    const wrongKey = key && keyError(key);
    if (wrongKey) throw wrongKey;
    if (updates.length === 0 && key === undefined) return [];
    return this.#appender.append(updates, key);
  }

  async follow(follower: Follower, after?: Position): Promise<Following> {
    return this.#look(() => this.#tail.follow(follower, after));
  }

  read(range: ReadRange): Promise<ReadResult> {
    return this.#look(() => this.#reads.read(range));
  }

  trimmedTopics(
    after: Position,
    of?: readonly string[],
  ): Promise<readonly TrimmedTopic[] | undefined> {
    return this.#look(() => this.#reads.trimmedTopics(after, of));
  }

  locate(id: string, admits = admitsAll): Promise<Location> {
    return this.#look(() => this.#reads.locate(id, admits));
  }

  async *topics(): AsyncGenerator<readonly string[]> {
    yield* this.#pages(this.#reads.topics());
  }

  async *endings(): AsyncGenerator<readonly Ending[]> {
    yield* this.#pages(this.#reads.endings(this.#options.now));
  }

  newest(
    topics: readonly string[],
    options: NewestOptions,
  ): Promise<readonly (readonly Entry[])[]> {
    return this.#look(() => this.#reads.newest(topics, options));
  }

  bounds(): Promise<{ oldest: EntryRef | undefined; head: EntryRef | undefined }> {
    return this.#look(() => this.#reads.bounds());
  }

  async ping(): Promise<void> {
    this.#assertOpen();
    await this.#appender.ping();
    await this.bounds();
  }

  async measure(): Promise<JournalSize> {
    const size = await this.#look(() => this.#reads.measure(this.#options.now));
    return { ...size, retries: this.#connection.retries };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#ageCheck);
    await this.#appender.finish();
    this.#tail.stop();
    await this.#connection.close();
    await this.#tail.ended();
  }

  /** What is done first with each new session. */
  async #prepare(session: Session): Promise<void> {
    await this.#attach(session);
    const notice = durabilityNotice(session, this.#durability);
    if (notice !== undefined && notice !== this.#lastDurabilityNotice) {
      this.#notify({ level: 'warn', event: 'redis-durability', message: notice });
    }
    this.#lastDurabilityNotice = notice;
  }

  #attach(session: Session): Promise<void> {
    this.#attaching ??= this.#attachNow(session).finally(() => {
      this.#attaching = undefined;
    });
    return this.#attaching;
  }

  /** Learns what the journal is, and tells it what this node has seen of it. */
  async #attachNow(session: Session): Promise<void> {
    const seen = this.#newestSeen();
    const { now } = this.#options;
    const args = [seen, randomUUID(), session.info.run, now === undefined ? '' : `${now()}`];
    const reply = await session.write.run(SCRIPTS.attach, this.#keys, args);
    const [word, generation, last, isLost, before] = reply as readonly Reply[];
    if (word !== 'OK') throw this.#unfit(String(word), String(generation));
    this.#generation = String(generation);
    if (isLost !== 1) return;
    const through = String(last);
    this.#seen = through;
    const message = lossNotice(this.#options.prefix, seen, String(before));
    this.#notify({ level: 'error', event: 'journal-loss', message, through });
    // Whoever is told reads what is left: that is possible once the session is up.
    this.#connection.whenUp().then(
      () => this.#tail.lost(through),
      () => {}, // It is closed.
    );
  }

  #unfit(word: string, format: string): UnfitError {
    const [meta] = this.#keys;
    return new UnfitError(
      word === 'FORMAT'
        ? `${meta} says that it is of format ${format}, and this version knows format ${FORMAT}. Run one version, or another JOURNAL_PREFIX.`
        : `There is only a part of the journal of ${meta}: something has removed other keys of it. Remove all keys of the prefix, or take another JOURNAL_PREFIX.`,
    );
  }

  #appended(before: Position, entries: readonly Entry[]): Promise<void> | undefined {
    this.#seen = later(this.#seen, (entries.at(-1) as Entry).position);
    return this.#tail.tellOwn(before, entries);
  }

  #newestSeen(): Position {
    return later(this.#seen, this.#tail.position);
  }

  async *#pages<T>(pages: AsyncGenerator<T>): AsyncGenerator<T> {
    for (;;) {
      const { done, value } = await this.#look(() => pages.next());
      if (done) return;
      yield value;
    }
  }

  async #look<T>(look: () => Promise<T>): Promise<T> {
    this.#assertOpen();
    try {
      return await look();
    } catch (error) {
      if (this.#closing) throw closedError();
      if (error instanceof JournalError) throw error;
      if (!isNothingWritten(error) && !(error instanceof Error)) throw error;
      throw unavailable(error);
    }
  }

  #assertOpen(): void {
    if (this.#closing) throw closedError();
  }
}

function lossNotice(prefix: string, seen: Position, before: Position): string {
  const missing = parsePosition(seen)[1] - parsePosition(before)[1];
  // What others put into the stream has numbers of its own.
  const some = missing > 0 ? `, some ${missing} of them` : '';
  const what =
    comparePositions(before, BEGINNING) === 0
      ? 'is empty'
      : `goes no further than ${before}: its newest updates are gone${some}`;
  return `The journal ${prefix} in Redis has lost updates that were acknowledged: this node has seen ${seen}, and it ${what}. It goes on after that, and clients are told of a gap.`;
}

/** Whether a text can be a key. */
function hasKeys({ topics, id, scope, publisher }: Update): boolean {
  const isKey = (text: string | undefined): boolean =>
    text === undefined || Buffer.byteLength(text) <= MAX_KEY_BYTES;
  const isGiven = topics.every((topic) => topic !== '') && id !== '' && publisher !== '';
  return isGiven && topics.every(isKey) && isKey(id) && isKey(scope) && isKey(publisher);
}
