import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type AppendOptions,
  BEGINNING,
  comparePositions,
  type EntryRef,
  type Following,
  isPosition,
  type Journal,
  JournalError,
  type JournalErrorCode,
} from '../journal/journal.js';
import { later } from '../journal/select.js';
import { type Log, toConsole } from '../log.js';
import type { Flushed } from '../sse/audience.js';
import type { EventStream } from '../sse/event-stream.js';
import { SharedTime, type TimeSlice } from '../time-slice.js';
import type { Addressed, Selection } from '../topics/selection.js';
import type { Waiter } from './arrivals.js';
import { CatchUps } from './catch-ups.js';
import { Delivery } from './delivery.js';
import { EntryFrames } from './entry-frames.js';
import type { Written } from './group.js';
import { JournalReads } from './journal-reads.js';
import { JournalTopics } from './journal-topics.js';
import { KnownEndings } from './known-endings.js';
import { PublishTimes } from './publish-times.js';
import { SelectionEnd } from './selection-end.js';
import {
  type Streamed,
  type StreamOptions,
  streamSource,
  type UpdateSource,
} from './stream-source.js';
import {
  type Gap,
  type GapReason,
  type Start,
  Subscription,
  type SubscriptionParts,
} from './subscription.js';
import { TemplateCosts } from './template-costs.js';
import { type Publication, ValidUpdates } from './update.js';
import { Window, type WindowSize } from './window.js';

/** How a hub delivers. */
export interface HubOptions {
  /** Bytes of the most recent updates to hold in memory. Default: 64 MiB. */
  readonly windowMaxBytes?: number;
  /** What becomes of a client that does not read: its cursor waits for it (the default), or it is cut off. */
  readonly slowClients?: 'catch-up' | 'disconnect';
  /**
   * What the topics of private updates start with that tell a state and are soon trimmed, such as announcements:
   * only clients that may receive them are told when they have missed some.
   */
  readonly transientTopics?: string;
  /** Told what an operator should know, which may happen many times in a row. Default: its message to `console.error`. */
  readonly log?: Log;
  /** Told how long things take and how large they are, for those who keep distributions. Default: nobody. */
  readonly observer?: HubObserver;
}

/** Whoever is told how long things take and how large they are, each time. It does not throw. */
export interface HubObserver {
  /** A call of `publish` has ended well: it was appended after so many milliseconds. */
  appended?(ms: number): void;
  /**
   * An update has been written to all live clients that it is for, so many milliseconds after it was published here. Of
   * samples: one update at a time is followed.
   */
  written?(ms: number): void;
  /** So many bytes have been written at once to each live client of one selection. */
  flushed?(bytesPerClient: number): void;
  /** A client that was not live has everything, and is live, so many milliseconds after it began to catch up. */
  caughtUp?(cause: CatchUpCause, ms: number): void;
}

/**
 * Why a client is not live: it comes with a last id or for the `latest` (`start`), it did not read (`slow`), or the place in
 * the journal was lost (`lost`).
 */
export type CatchUpCause = 'start' | 'slow' | 'lost';

/** Where a subscription begins. */
export interface SubscribeOptions {
  /** Where to read on from, as `locate` found it. Without it: from now on. */
  readonly start?: Start | undefined;
  /** Told first, of a cursor that is not read on from. Not together with `start`, which has its own. */
  readonly gap?: Gap | undefined;
  /** First the newest held update of each topic. Not together with `start`, which has them all. */
  readonly latest?: boolean;
  /**
   * Nothing of before is sent: not even when all topics have ended, where otherwise a subscription without `start` gets
   * all that is held. So it is where a `gap` is told.
   */
  readonly withheld?: boolean | undefined;
  /** Who this is, for the log. */
  readonly identity?: string;
}

const DEFAULTS = {
  windowMaxBytes: 64 * 1024 * 1024,
  slowClients: 'catch-up',
  log: toConsole,
} as const;

/** How long it takes until endings that could not be loaded are asked for again. */
const RELOAD_MS = 1_000;

const NONE_REFUSED: Readonly<Record<JournalErrorCode, number>> = {
  ERR_JOURNAL_OPEN: 0,
  ERR_JOURNAL_UNAVAILABLE: 0,
  ERR_JOURNAL_OUTCOME_UNKNOWN: 0,
  ERR_JOURNAL_CLOSED: 0,
  ERR_ID_TAKEN: 0,
  ERR_KEY_TAKEN: 0,
  ERR_TOPIC_ENDED: 0,
};

/** How many updates are looked at to find the newest that somebody sees. */
const MAX_LOOKED_AT = 10_000;

type Optional = 'transientTopics' | 'observer';
type Settings = Required<Omit<HubOptions, Optional>> & Pick<HubOptions, Optional>;

/** What the hub has counted since it opened. */
export interface HubStatistics {
  /** How many there are now. */
  readonly subscriptions: number;
  /** How often a live client was found not to read. */
  readonly slow: number;
  /** How often an update could not be sent, and was left out. */
  readonly skipped: number;
  /** How many clients are read for, or wait for that, because they are not live. */
  readonly catchUps: number;
  /** How many of these wait for their turn. */
  readonly waiting: number;
  /** How many subscriptions are not live: those that catch up, also where their client does not read. */
  readonly notLive: number;
  /** How often a client began to catch up. */
  readonly caughtUp: Readonly<Record<CatchUpCause, number>>;
  /** Updates that were published here: those that were answered with an id, also where they were a repeat. */
  readonly published: number;
  /** Calls of `publish` that the journal refused or failed. */
  readonly refused: Readonly<Record<JournalErrorCode, number>>;
  /** Updates that were followed and delivered, whoever published them. */
  readonly followed: number;
  /** Updates that were followed, and wait to be delivered. */
  readonly undelivered: number;
  /** What was written to live clients. */
  readonly live: Flushed;
  /** What was written to clients that were not live. */
  readonly replayed: Flushed;
  /** How often a client was told that it has missed updates. */
  readonly gaps: Readonly<Record<GapReason, number>>;
  /** What of the newest updates is in memory. */
  readonly window: WindowSize;
}

/**
 * Updates go into one ordered journal; a subscription is a cursor over it. Publishing only appends, and only
 * what the journal is followed to have is delivered, so that one process and many run the same code.
 */
export class Hub {
  readonly #journal: Journal;
  readonly #options: Settings;
  readonly #delivery: Delivery;
  readonly #frames: EntryFrames;
  readonly #endings = new KnownEndings();
  readonly #parts: SubscriptionParts;
  /** Live subscriptions and those that catch up. */
  readonly #subscriptions = new Map<EventStream, Subscription>();
  /** One listener for all streams. */
  readonly #forget: (this: EventStream) => void;
  readonly #templates = new TemplateCosts();
  readonly #times: PublishTimes;
  readonly #counts = {
    slow: 0,
    notLive: 0,
    published: 0,
    live: { deliveries: 0, bytes: 0 },
    caughtUp: { start: 0, slow: 0, lost: 0 } satisfies Record<CatchUpCause, number>,
    refused: { ...NONE_REFUSED },
  };
  #following: Following | undefined;
  #isLoading = false;
  #isClosed = false;

  /**
   * Opens a hub over a journal, which stays the caller's to close, after the hub.
   *
   * @throws {JournalError} as `Journal.follow` and `Journal.endings` do.
   */
  static async open(journal: Journal, options: HubOptions = {}): Promise<Hub> {
    const hub = new Hub(journal, { ...DEFAULTS, ...options });
    const following = await journal.follow(hub.#delivery);
    hub.#following = following;
    try {
      hub.#endings.restart(following.after);
      await hub.#endings.load(journal);
    } catch (error) {
      hub.close();
      throw error;
    }
    hub.#delivery.open(following.after);
    return hub;
  }

  private constructor(journal: Journal, options: Settings) {
    this.#journal = journal;
    const window = new Window(options.windowMaxBytes);
    const frames = new EntryFrames(({ position }, error) => {
      options.log({
        level: 'error',
        event: 'update-unsendable',
        message: `The update at ${position} cannot be sent and is left out. ${String(error)}`,
        position,
        error,
      });
    });
    const { observer } = options;
    this.#times = new PublishTimes(observer?.written?.bind(observer));
    const { live } = this.#counts;
    const delivery = new Delivery(window, frames, this.#endings, this.#times, {
      onStall: (stream, written) => this.#stalled(stream, written),
      onLost: (stream, written) => this.#fallBehind(stream, written, 'lost'),
      onFlush: (count, { deliveries, bytes }) => {
        live.deliveries += deliveries;
        live.bytes += bytes;
        // Each client is written all of it, but for those that do not read or came in its midst.
        if (deliveries > 0) observer?.flushed?.((bytes / deliveries) * count);
      },
      onRestart: (after) => {
        options.log({
          level: 'warn',
          event: 'place-lost',
          message: `The place in the journal was lost. What clients have missed up to ${after} is read from it.`,
          position: after,
        });
        void this.#reloadEndings();
      },
    });
    this.#delivery = delivery;
    this.#frames = frames;
    this.#parts = {
      journal,
      window,
      frames,
      reads: new JournalReads(journal, window, frames),
      topics: new JournalTopics(journal, window),
      catchUps: new CatchUps(),
      endings: this.#endings,
      transientTopics: options.transientTopics,
      counts: {
        deliveries: 0,
        bytes: 0,
        gaps: { trimmed: 0, unknown: 0, damaged: 0, withheld: 0 },
      },
      reached: async (position, stream) => {
        const isReached = await delivery.reached(position, stream);
        if (!isReached && stream.writable) {
          options.log({
            level: 'warn',
            event: 'behind-client',
            message: `A client has had updates up to ${position}, which this process has not followed yet. Its stream ends.`,
            position,
          });
        }
        return isReached;
      },
      join: ({ stream, selection }) => delivery.join(stream, selection),
    };
    this.#options = options;
    const subscriptions = this.#subscriptions;
    const templates = this.#templates;
    this.#forget = function forget() {
      const subscription = subscriptions.get(this);
      subscriptions.delete(this);
      if (subscription !== undefined) templates.delete(subscription.selection);
    };
  }

  /**
   * Appends updates, all or none, and resolves with where they stand once they are durable. They are
   * delivered when they come back from the journal. With a key, a repeat is answered as the first call was.
   *
   * @throws {UpdateError} for one that cannot be kept or sent; then nothing was appended.
   *   {@link JournalError} as `Journal.append` does.
   */
  async publish(
    updates: readonly Publication[] | ValidUpdates,
    options?: AppendOptions,
  ): Promise<readonly EntryRef[]> {
    const { list } = updates instanceof ValidUpdates ? updates : new ValidUpdates(updates);
    const since = performance.now();
    this.#times.begin(list, since);
    try {
      const refs = await this.#journal.append(list, options);
      this.#counts.published += refs.length;
      // A repeat is not delivered again.
      if (this.#delivery.waiting === 0) this.#times.end(list);
      this.#options.observer?.appended?.(performance.now() - since);
      return refs;
    } catch (error) {
      this.#times.end(list);
      if (error instanceof JournalError) this.#counts.refused[error.code] += 1;
      throw error;
    }
  }

  /**
   * Publishes all that a source yields, and reads it no faster than the journal takes it. A text is the data of an
   * update. What comes within a turn of the event loop is appended together, one append at a time, in order.
   *
   * When the source has come to its end, an update of the type `end` follows, which is the `last` of the topics: they
   * end with it. If the source fails, that is one of the type `failure`; if the signal aborts, `cancelled`. Whoever else
   * ends the topics meanwhile ends this, too.
   *
   * While the journal cannot be reached, an append is repeated for `retryMs`, and is there once. If it fails for good, or
   * the process is killed, the topics are left without an end. Whoever starts again finds them:
   *
   * ```ts
   * for await (const topics of journal.topics()) {
   *   const cutOff = topics.filter((topic) => topic.startsWith('texts/') && !hub.hasEnded(topic));
   *   await hub.publish(cutOff.map((topic) => ({ topics: [topic], type: 'failure', data: '', last: true })));
   * }
   * ```
   *
   * Where several processes share the journal, each has topics of its own, or it would end those of others.
   *
   * @returns when all is published, and delivered here: {@link Hub.hasEnded} knows of the end, also of a failure.
   * @throws what the source throws, when that it failed is published; or what is wrong with an item or an option.
   * @throws {JournalError} as `Journal.append` does; the source is closed then.
   * @throws {AggregateError} if the source has failed and then something else, such as to publish that.
   */
  stream(
    topics: string | readonly string[],
    source: UpdateSource,
    options?: StreamOptions,
  ): Promise<Streamed> {
    return streamSource(this, topics, source, options);
  }

  /**
   * Resolves when updates that were published are delivered here, or the hub is closed: for those who publish so much
   * that they are to wait for it.
   */
  async delivered(refs: readonly EntryRef[]): Promise<void> {
    const positions = refs.map(({ position }) => position);
    if (positions.length > 0) await this.#delivery.delivered(positions.reduce(later));
  }

  /**
   * Finds where a client reads on that gives this as its `Last-Event-ID`; `earliest` is all that is held. An id of
   * a private update that its selection may not see is unknown, as if it had never been.
   */
  async locate(lastEventID: string, selection: Selection): Promise<Start> {
    if (lastEventID === 'earliest') return { after: undefined, lastEventID };
    // Several publishers may have used an id. It is one that this client has asked for, if there is such.
    let isSeen = false;
    const asked = await this.#journal.locate(lastEventID, (entry) => {
      if (selection.admits(entry)) return true;
      isSeen ||= selection.maySee(entry);
      return false;
    });
    const location =
      asked.found || !isSeen
        ? asked
        : await this.#journal.locate(lastEventID, (entry) => selection.maySee(entry));
    if (location.found) return { after: location.position, lastEventID };
    const gap = { lastEventID, reason: location.reason };
    return { after: undefined, gap, lastEventID: 'earliest' };
  }

  /**
   * Whether nothing comes any more for a client of this selection that reads on from there: all its topics have ended,
   * and it has had the last update. Then it is answered 204, after which an `EventSource` does not come back. `subscribe`
   * would end its stream, and it would come back for ever.
   *
   * @param start as `locate` found it. A client may have had more, from another process, than this one has followed;
   *   then this takes some seconds at most.
   * @param client its response: if it leaves meanwhile, that is over.
   */
  async isOver(selection: Selection, start: Start, client: Waiter = NOBODY): Promise<boolean> {
    const end = new SelectionEnd(this.#endings, selection);
    const { after, gap } = start;
    if (!end.isPossible || (after === undefined && gap === undefined)) return false;
    if (after !== undefined && !(await this.#delivery.reached(after, client))) return false;
    const slice = finding.begin();
    while (end.look() === 'unknown') await end.find(slice);
    const last = end.look();
    if (last === undefined || last === 'unknown') return false;
    if (after !== undefined) return comparePositions(last.position, after) <= 0;
    // The last update has been trimmed, with all before it: its id is known nevertheless.
    const id = gap?.lastEventID ?? '';
    if (gap?.reason !== 'trimmed') return id === last.id;
    return isPosition(id) && comparePositions(last.position, id) <= 0;
  }

  /**
   * Whether a topic has ended, as far as this process has followed the journal, and as long as the journal remembers
   * that. For the app itself: it asks nothing about who may know.
   */
  hasEnded(topic: string): boolean {
    return this.#endings.lastOf(topic) !== undefined;
  }

  /**
   * Sends a stream what its selection admits, in journal order and each update once, until it closes, or until all
   * topics of the selection have ended: then the stream ends. A subscription that starts now, without what was before,
   * is live when this returns; if all its topics have ended, it gets all that is held instead. A stream that has closed is
   * not subscribed.
   */
  subscribe(stream: EventStream, selection: Selection, options: SubscribeOptions = {}): void {
    if (!stream.writable) return; // It has closed already, and would never leave.
    const { start, latest, gap, withheld = gap !== undefined, identity = 'a subscriber' } = options;
    const subscription = new Subscription(this.#parts, stream, selection, identity);
    this.#subscriptions.set(stream, subscription);
    this.#templates.add(selection);
    stream.on('close', this.#forget);
    if (start) this.#watch(subscription, subscription.startAt(start), 'start');
    else if (latest) this.#watch(subscription, subscription.startWithLatest(gap), 'start');
    else this.#watch(subscription, subscription.startNow(withheld, gap), 'start');
  }

  /** Whether the templates of a selection, with those of all subscriptions, cost no more than this. */
  allowsTemplates(selection: Selection, maxCost: number): boolean {
    return this.#templates.allows(selection, maxCost);
  }

  /**
   * What somebody who sees only some updates can read on from to miss none that comes: the id of the newest of
   * these, or a position after which none of them stands; `earliest` if there is nothing. Of the window's newest
   * `MAX_LOOKED_AT` updates.
   *
   * @internal
   */
  async lastEventId(sees: (update: Addressed) => boolean, slice: TimeSlice): Promise<string> {
    const { window } = this.#parts;
    let { ordinal, id, position } = window.head;
    for (let lookedAt = 0; lookedAt < MAX_LOOKED_AT; lookedAt += 1) {
      const entry = window.entryAt(ordinal);
      if (entry === undefined) break;
      ({ id, position } = entry.cursor);
      if (sees(entry)) return id as string;
      ordinal -= 1;
      if (slice.isOver) await slice.next();
    }
    return position === BEGINNING ? 'earliest' : position;
  }

  /** What it has counted so far. */
  get statistics(): HubStatistics {
    const { catchUps, counts, window } = this.#parts;
    return {
      ...this.#counts,
      subscriptions: this.#subscriptions.size,
      skipped: this.#frames.skipped,
      catchUps: catchUps.size,
      waiting: catchUps.waiting,
      followed: this.#delivery.count,
      undelivered: this.#delivery.waiting,
      replayed: { deliveries: counts.deliveries, bytes: counts.bytes },
      gaps: counts.gaps,
      window: window.size,
    };
  }

  /** Stops delivering. Streams are their owner's to end. */
  close(): void {
    this.#isClosed = true;
    this.#following?.close();
    this.#delivery.close();
  }

  /** Counts a subscription as one that is not live, until its work is done, and ends its stream if that has failed. */
  #watch(subscription: Subscription, work: Promise<void> | undefined, cause: CatchUpCause): void {
    if (work === undefined) return;
    const since = performance.now();
    this.#counts.caughtUp[cause] += 1;
    this.#counts.notLive += 1;
    const done = () => {
      this.#counts.notLive -= 1;
    };
    const caughtUp = work.then(
      () => {
        done();
        if (!subscription.stream.writable) return;
        this.#options.observer?.caughtUp?.(cause, performance.now() - since);
      },
      (error: unknown) => {
        done();
        throw error;
      },
    );
    caughtUp.catch((error: unknown) => {
      // Nothing is lost: the client comes back with the last id that it has.
      this.#options.log({
        level: 'error',
        event: 'journal-unreadable',
        message: `The journal cannot be read for ${subscription.identity}. ${String(error)}`,
        client: subscription.identity,
        error,
      });
      subscription.stream.end();
    });
  }

  /** Loads the endings anew, however long that takes, and ends the streams of those that came unnoticed. */
  async #reloadEndings(): Promise<void> {
    if (this.#isLoading) return;
    this.#isLoading = true;
    while (!this.#endings.isComplete && !this.#isClosed) {
      try {
        await this.#endings.load(this.#journal);
      } catch (error) {
        if (this.#isClosed) break;
        this.#options.log({
          level: 'error',
          event: 'endings-unreadable',
          message: `The endings of topics cannot be read from the journal. ${String(error)}`,
          error,
        });
        await delay(RELOAD_MS, undefined, { ref: false });
      }
    }
    this.#isLoading = false;
    await this.#delivery.finishWhatIsOver();
    await this.#tellStarts();
  }

  /** Clients that came while endings were loaded get the id that all others get first. */
  async #tellStarts(): Promise<void> {
    const slice = finding.begin();
    for (const subscription of [...this.#subscriptions.values()]) {
      if (slice.isOver) await slice.next();
      const start = subscription.untoldStart;
      if (start === undefined) continue;
      if (this.#delivery.isQuietSince(subscription.selection, start)) subscription.tellStart(start);
    }
  }

  /** A live client does not read, and is delivered to no longer. */
  #stalled(stream: EventStream, written: Written): void {
    const subscription = this.#subscriptions.get(stream);
    if (subscription === undefined) return;
    this.#counts.slow += 1;
    if (this.#options.slowClients === 'disconnect') {
      this.#tellSlow(subscription, ' and is disconnected');
      stream.destroy();
      return;
    }
    this.#tellSlow(subscription, '; its cursor waits for it');
    this.#fallBehind(stream, written, 'slow');
  }

  #tellSlow({ identity }: Subscription, then: string): void {
    const message = `${identity} does not read${then}.`;
    this.#options.log({ level: 'warn', event: 'slow-client', message, client: identity });
  }

  /** A client is live no longer. */
  #fallBehind(stream: EventStream, written: Written, cause: CatchUpCause): void {
    const subscription = this.#subscriptions.get(stream);
    if (subscription) this.#watch(subscription, subscription.fallBehind(written), cause);
  }
}

/** For those who wait without a client. */
const NOBODY: Waiter = { writable: true, on: () => undefined, off: () => undefined };

/** Of all that ask whether all is over. */
const finding = new SharedTime();
