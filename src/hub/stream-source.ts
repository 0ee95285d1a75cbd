import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { type AppendOptions, type EntryRef, JournalError } from '../journal/journal.js';
import { assertKnown } from '../sse/options.js';
import { type AnySource, SourceReader } from '../sse/source.js';
import { type Publication, ValidUpdates } from './update.js';

/** An update of a source: its topics are those that the source is published under. */
export type SourceUpdate = Pick<Publication, 'data' | 'type' | 'id' | 'retry'>;

/** Where updates come from: an array, a generator, an async generator, a `Readable`, a web `ReadableStream`. */
export type UpdateSource = AnySource<SourceUpdate | string>;

/** What the last update of a source says. */
export type LastOf = Partial<Pick<Publication, 'data' | 'type'>>;

/** How a source is published by `hub.stream`. */
export interface StreamOptions {
  /** The type of the updates that are texts, or have none of their own. */
  readonly type?: string | undefined;
  /** All updates, the last one among them, are for those only who have a grant for one of the topics. */
  readonly private?: boolean | undefined;
  /** As that of an update: to whose share of the journal it counts. */
  readonly publisher?: string | undefined;
  /** As that of an update: within what own ids are one. */
  readonly scope?: string | undefined;
  /** The topics may have ended; they go on with the first update. */
  readonly reopen?: boolean | undefined;
  /** Cancels: the source is closed at once, and what it has yielded is published. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for which an append is repeated while the journal cannot be reached. Default: 30,000. */
  readonly retryMs?: number | undefined;
  /** The last update when the source has come to its end. Default: of the type `end`, without data. */
  readonly end?: LastOf | (() => LastOf) | undefined;
  /**
   * The last update when the source has failed. Default: of the type `failure`, without data. It is not `error`, which
   * an `EventSource` has for its own; and the error's text may not be for everybody.
   */
  readonly failure?: LastOf | ((error: unknown) => LastOf) | undefined;
  /** The last update when it was cancelled. Default: of the type `cancelled`, without data. */
  readonly cancelled?: LastOf | (() => LastOf) | undefined;
}

/** How a source has been published. */
export interface Streamed {
  /** Whether the source has come to its end, or was cancelled before. */
  readonly outcome: 'ended' | 'cancelled';
  /** The last update, with which its topics have ended. */
  readonly last: EntryRef;
  /** How many updates of the source there are before it. */
  readonly count: number;
}

const OPTIONS: readonly (keyof StreamOptions)[] = [
  'type',
  'private',
  'publisher',
  'scope',
  'reopen',
  'signal',
  'retryMs',
  'end',
  'failure',
  'cancelled',
];
const FIELDS: readonly (keyof SourceUpdate)[] = ['data', 'type', 'id', 'retry'];

const DEFAULT_RETRY_MS = 30_000;

/** The pause before an append is repeated: at first, and at most. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;

/** So many updates, or UTF-16 units of data of them, wait for the append under way. Then the source is not read on. */
const MAX_WAITING_UPDATES = 500;
const MAX_WAITING_LENGTH = 256 * 1024;

/** What publishes: a hub. */
interface Target {
  publish(updates: ValidUpdates, options: AppendOptions): Promise<readonly EntryRef[]>;
  delivered(refs: readonly EntryRef[]): Promise<void>;
}

/** As {@link Hub.stream} says. */
export async function streamSource(
  hub: Target,
  topics: string | readonly string[],
  source: UpdateSource,
  options: StreamOptions = {},
): Promise<Streamed> {
  const reader = new SourceReader(source);
  const close = () => reader.close();
  const { signal } = options;
  try {
    const updates = new UpdateMaker([topics].flat(), options);
    const outbox = new Outbox(hub, options, close);
    signal?.addEventListener('abort', close);
    if (signal?.aborted) close();
    return await publishAll(reader, updates, outbox);
  } finally {
    close();
    signal?.removeEventListener('abort', close);
  }
}

async function publishAll(
  reader: SourceReader<SourceUpdate | string>,
  updates: UpdateMaker,
  outbox: Outbox,
): Promise<Streamed> {
  try {
    let count = 0;
    const isOver = await reader.read((item) => {
      outbox.add(updates.of(item));
      count += 1;
      return outbox.isFull ? outbox.room() : undefined;
    });
    outbox.assertWorking();
    const last = await outbox.finish(updates.last(isOver ? 'end' : 'cancelled'));
    return { outcome: isOver ? 'ended' : 'cancelled', last, count };
  } catch (error) {
    // Where the journal takes no more, it takes no word of that either.
    if (outbox.takesMoreAfter(error)) await tellFailure(error, updates, outbox);
    throw error;
  }
}

/** Publishes that the source has failed. @throws {AggregateError} if something else fails, too. */
async function tellFailure(error: unknown, updates: UpdateMaker, outbox: Outbox): Promise<void> {
  const errors = [error];
  let last = updates.plainFailure;
  try {
    last = updates.last('failure', error);
  } catch (second) {
    errors.push(second);
  }
  try {
    await outbox.finish(last);
  } catch (second) {
    errors.push(second);
    // What was refused came before, and this was given up with it.
    if (outbox.takesMoreAfter(second)) await outbox.finish(last).catch((e) => errors.push(e));
  }
  if (errors.length === 1) return;
  throw new AggregateError(errors, `The source has failed, and then: ${String(errors[1])}`);
}

type LastKind = 'end' | 'failure' | 'cancelled';

/** Makes updates of what a source yields. */
class UpdateMaker {
  readonly #options: StreamOptions;
  readonly #common: Omit<Publication, 'data'>;

  /** @throws {TypeError} for options that are none, or that no update could be published with. */
  constructor(topics: readonly string[], options: StreamOptions) {
    assertKnown('hub.stream()', options, OPTIONS);
    const { private: isPrivate = false, publisher, scope } = options;
    this.#options = options;
    this.#common = { topics, private: isPrivate, publisher, scope };
    new ValidUpdates([this.of('')]);
    for (const kind of ['end', 'failure', 'cancelled'] as const) {
      if (typeof options[kind] !== 'function') this.last(kind);
    }
  }

  /** @throws {TypeError} if it is no update. Whether it can be published, the outbox says. */
  of(item: SourceUpdate | string): Publication {
    if (typeof item === 'string') return this.#make({ data: item });
    assertKnown('An update of a source', item, FIELDS);
    return this.#make(item);
  }

  /** @throws {TypeError} if it cannot be published. */
  last(kind: LastKind, error?: unknown): Publication {
    const given = this.#options[kind];
    const { type = kind, data = '' } = (typeof given === 'function' ? given(error) : given) ?? {};
    const last = { ...this.#make({ type, data }), last: true };
    new ValidUpdates([last]);
    return last;
  }

  get plainFailure(): Publication {
    return { ...this.#make({ type: 'failure', data: '' }), last: true };
  }

  #make({ data, type = this.#options.type, id, retry }: SourceUpdate): Publication {
    return { ...this.#common, data, type, id, retry };
  }
}

/**
 * Publishes updates in their order: all that come within a turn of the event loop in one append, and one append at a
 * time. What comes while it is under way waits, bounded. A key for each append makes its repeat safe.
 */
class Outbox {
  readonly #hub: Target;
  readonly #publisher: string | undefined;
  readonly #retryMs: number;
  readonly #onFailure: () => void;
  readonly #name = randomUUID();
  #appends = 0;
  #waiting = new ValidUpdates();
  #waitingLength = 0;
  /** The topics are yet to be reopened. */
  #reopens: boolean;
  #sending: Promise<void> | undefined;
  #last: EntryRef | undefined;
  #failure: { readonly error: unknown } | undefined;
  #tellRoom: (() => void) | undefined;

  /** @param onFailure told when an append has failed for good. */
  constructor(hub: Target, options: StreamOptions, onFailure: () => void) {
    const { publisher, reopen = false, retryMs = DEFAULT_RETRY_MS } = options;
    if (!Number.isFinite(retryMs) || retryMs < 0) {
      throw new RangeError(`retryMs is a number of milliseconds, not ${String(retryMs)}.`);
    }
    this.#hub = hub;
    this.#publisher = publisher;
    this.#reopens = reopen;
    this.#retryMs = retryMs;
    this.#onFailure = onFailure;
  }

  /** Resolves when an update may be added. @throws what an append has failed with. */
  async room(): Promise<void> {
    while (this.isFull && this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#tellRoom = resolve;
      });
    }
    this.assertWorking();
  }

  /** @throws what an append has failed with. */
  assertWorking(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Adds an update. @throws {UpdateError} if it cannot be published. */
  add(publication: Publication): void {
    this.#waiting.add(this.#reopens ? { ...publication, reopen: true } : publication);
    this.#reopens = false;
    this.#waitingLength += publication.data.length;
    this.#sending ??= this.#send();
  }

  /** Adds the last update, and resolves with where it stands when all are delivered. @throws what that fails with. */
  async finish(last: Publication): Promise<EntryRef> {
    this.add(last);
    await this.#sending;
    this.assertWorking();
    const ref = this.#last as EntryRef;
    // Whoever asks now whether the topic has ended is told so.
    await this.#hub.delivered([ref]);
    return ref;
  }

  /**
   * Whether more can be published after an error: it is of the source, or the journal has refused an id that the source
   * has given. What waited behind that is given up.
   */
  takesMoreAfter(error: unknown): boolean {
    if (this.#failure?.error !== error) return true;
    if (!(error instanceof JournalError) || error.code !== 'ERR_ID_TAKEN') return false;
    this.#failure = undefined;
    return true;
  }

  /** Whether an update that is added is to wait for {@link room}. */
  get isFull(): boolean {
    return (
      this.#waiting.list.length >= MAX_WAITING_UPDATES || this.#waitingLength >= MAX_WAITING_LENGTH
    );
  }

  async #send(): Promise<void> {
    await new Promise(setImmediate);
    try {
      while (this.#waiting.list.length > 0) this.#last = await this.#append(this.#takeWaiting());
    } catch (error) {
      this.#takeWaiting();
      this.#failure = { error };
      this.#onFailure();
    }
    this.#sending = undefined;
  }

  #takeWaiting(): ValidUpdates {
    const updates = this.#waiting;
    this.#waiting = new ValidUpdates();
    this.#waitingLength = 0;
    this.#tellRoom?.();
    return updates;
  }

  /** Repeats an append as long as it is of use. Returns where its last update stands. */
  async #append(updates: ValidUpdates): Promise<EntryRef | undefined> {
    this.#appends += 1;
    const key = {
      key: `${this.#name} ${this.#appends}`,
      digest: DIGEST,
      publisher: this.#publisher,
    };
    const giveUpAt = performance.now() + this.#retryMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      try {
        const refs = await this.#hub.publish(updates, { key });
        return refs.at(-1);
      } catch (error) {
        if (!isPassing(error) || performance.now() + pauseMs > giveUpAt) throw error;
      }
      await delay(pauseMs);
    }
  }
}

/** Of all keys: each is of one append alone. */
const DIGEST = 'stream';

/** Whether what has failed may succeed when it is repeated. */
function isPassing(error: unknown): boolean {
  return (
    error instanceof JournalError &&
    (error.code === 'ERR_JOURNAL_UNAVAILABLE' || error.code === 'ERR_JOURNAL_OUTCOME_UNKNOWN')
  );
}
