/** Appends what waits, all that came in a turn together, one script at a time. */

import { type Append, idTakenError, takeWaiting, toEntry, topicEndedError } from '../commit.js';
import {
  type AppendKey,
  type Entry,
  type EntryRef,
  JournalError,
  type Position,
  parsePosition,
  type Update,
} from '../journal.js';
import { contentDigest, Headers, scopedId } from './entry.js';
import { AwayError, isNothingWritten, outcomeUnknown, unavailable } from './failures.js';
import type { Reply } from './line.js';
import { SCRIPTS } from './scripts.js';
import type { Session } from './session.js';

/** An append that waits for Redis. */
export interface WaitingAppend extends Append {
  readonly key?: AppendKey | undefined;
  readonly since: number;
}

export interface AppenderOptions {
  readonly keys: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  /** Of tests: the clock in place of that of Redis. */
  readonly now?: (() => number) | undefined;
  /** The session that is up. @throws {AwayError} */
  session(): Promise<Session>;
  /** What the journal in that session is: see lua/attach.ts. */
  generation(): string;
  /** The newest position that this node knows of. */
  seen(): Position;
  /** Looks anew at what the journal is: another node, or nobody, has begun it anew. */
  attach(session: Session): Promise<void>;
  /** Something was refused that another connection may get. */
  renew(session: Session, reason: unknown): void;
  /** What makes an append durable as configured, once it is written. */
  confirm(session: Session): Promise<void> | undefined;
  /**
   * Is told of what was appended, and after which position that stands.
   *
   * @returns what to wait for until those who follow have been told, if they have not.
   */
  appended(before: Position, entries: readonly Entry[]): Promise<void> | undefined;
}

/** Beyond this no more may wait, in appends and in UTF-16 units of data. */
const MAX_WAITING = 100_000;
const MAX_WAITING_LENGTH = 256 * 1024 * 1024;
/** What has waited for so long is not begun any more: it would take too long until its end is known. */
const MAX_WAIT_MS = 1500;
/** How often the same updates are sent when the journal has been begun anew meanwhile. */
const MAX_TRIES = 3;

export class Appender {
  readonly #options: AppenderOptions;
  readonly #waiting: WaitingAppend[] = [];
  #waitingLength = 0;
  readonly #pings: Append[] = [];
  /** Commits that are written, and of which those who follow are still to be told. */
  readonly #untold = new Set<Promise<void>>();
  /** Resolves when what is being written has been answered. */
  #writing: Promise<void> | undefined;
  #isTrimDue = false;
  #running: Promise<void> | undefined;

  constructor(options: AppenderOptions) {
    this.#options = options;
  }

  append(updates: readonly Update[], key: AppendKey | undefined): Promise<readonly EntryRef[]> {
    const length = lengthOf(updates);
    if (
      this.#waiting.length >= MAX_WAITING ||
      (this.#waitingLength > 0 && this.#waitingLength + length > MAX_WAITING_LENGTH)
    ) {
      return Promise.reject(unavailable(new AwayError('Too many updates wait for Redis already')));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ updates, key, since: performance.now(), resolve, reject });
      this.#waitingLength += length;
      this.#wake();
    });
  }

  /** Writes something that is no entry, and trims. */
  ping(): Promise<unknown> {
    return new Promise<readonly EntryRef[]>((resolve, reject) => {
      this.#pings.push({ updates: [], resolve, reject });
      this.#wake();
    });
  }

  /** Trims what is to be trimmed, soon. */
  trim(): void {
    this.#isTrimDue = true;
    this.#wake();
  }

  /** Waits for the end of what is being written, if anything is. */
  whenWritten(): Promise<void> | undefined {
    return this.#writing;
  }

  /** Resolves when nothing waits any more. */
  async finish(): Promise<void> {
    this.#isTrimDue = false;
    await this.#running;
    await Promise.all(this.#untold);
  }

  /** The next commit need not wait for it. */
  #endWhen(told: Promise<void>, end: () => void): void {
    const ending = told.then(end).finally(() => this.#untold.delete(ending));
    this.#untold.add(ending);
  }

  #wake(): void {
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    await undefined; // Whatever is appended in this turn goes together.
    while (this.#waiting.length > 0 || this.#pings.length > 0 || this.#isTrimDue) {
      const appends = takeWaiting(this.#waiting) as WaitingAppend[];
      for (const { updates } of appends) this.#waitingLength -= lengthOf(updates);
      const committing = this.#commit(appends, this.#pings.splice(0));
      this.#writing = committing;
      await committing;
      this.#writing = undefined;
    }
    this.#running = undefined;
  }

  async #commit(taken: readonly WaitingAppend[], pings: readonly Append[]): Promise<void> {
    this.#isTrimDue = false;
    const latest = performance.now() - MAX_WAIT_MS;
    const appends = taken.filter(({ since }) => since >= latest);
    for (const append of taken) {
      if (append.since < latest) append.reject(unavailable(new AwayError('Redis is too slow')));
    }
    try {
      const { before, time, outcomes, pinged } = await this.#send(appends, pings.length > 0);
      const { entries, results } = settle(appends, { before, time, outcomes });
      const told = entries.length > 0 ? this.#options.appended(before, entries) : undefined;
      const end = (): void => {
        appends.forEach((append, n) => {
          const result = results[n] as readonly EntryRef[] | JournalError;
          if (result instanceof JournalError) append.reject(result);
          else append.resolve(result);
        });
      };
      if (told === undefined) end();
      else this.#endWhen(told, end);
      for (const ping of pings) {
        if (pinged === undefined) ping.resolve([]);
        else ping.reject(unavailable(new Error(pinged)));
      }
    } catch (error) {
      const failure =
        error instanceof JournalError
          ? error
          : isNothingWritten(error)
            ? unavailable(error)
            : outcomeUnknown(error);
      for (const append of appends) append.reject(failure);
      for (const ping of pings) ping.reject(unavailable(error));
    }
  }

  async #send(appends: readonly WaitingAppend[], isPing: boolean): Promise<Written> {
    const { keys, limits, now, session: sessionNow, generation, seen, attach } = this.#options;
    const { headers, calls, data } = encode(appends);
    const encoded = [JSON.stringify(headers), JSON.stringify(calls), ...data];
    for (let tries = 1; ; tries++) {
      const session = await sessionNow();
      const options = {
        generation: generation(),
        seen: seen(),
        limits,
        ping: isPing,
        ...(now && { wall: now() }),
      };
      const args = [JSON.stringify(options), ...encoded];
      let answer: readonly Reply[];
      try {
        const writing = session.write.run(SCRIPTS.append, keys, args);
        const confirming = appends.length > 0 ? this.#options.confirm(session) : undefined;
        // What takes longer is not waited for by others.
        if (confirming) this.#writing = writing.then(() => {}).catch(() => {});
        const [written] = await Promise.all([writing, confirming]);
        answer = written as readonly Reply[];
      } catch (error) {
        this.#options.renew(session, error);
        throw error;
      }
      const [word, before, time, isBehind, outcomes, pinged] = answer;
      if (word === 'OK') {
        if (isBehind === 1) this.#isTrimDue = true;
        return {
          before: String(before),
          time: String(time),
          outcomes: outcomes as readonly string[],
          pinged: pinged ? String(pinged) : undefined,
        };
      }
      if (tries === MAX_TRIES) throw new AwayError('The journal is begun anew all the time');
      await attach(session).catch((error: unknown) => {
        this.#options.renew(session, error);
        throw error;
      });
    }
  }
}

interface Written {
  readonly before: Position;
  readonly time: string;
  readonly outcomes: readonly string[];
  /** Why appends may fail, if a ping has found out. */
  readonly pinged?: string | undefined;
}

/** What the script is told of a call; see lua/append.ts. */
type Call = readonly [
  headers: readonly number[],
  ownIds:
    | readonly (readonly [number: number, id: string, scoped: string, digest: string])[]
    | false,
  key: readonly [key: string, digest: string, publisher: string] | false,
  reopening: readonly number[] | false,
];

function encode(appends: readonly WaitingAppend[]) {
  const headers = new Headers();
  const data: string[] = [];
  const calls = appends.map(({ updates, key }): Call => {
    const numbers: number[] = [];
    const ownIds: (readonly [number, string, string, string])[] = [];
    const reopening: number[] = [];
    for (const [n, update] of updates.entries()) {
      numbers.push(headers.add(update));
      data.push(update.data);
      if (update.reopen === true) reopening.push(n + 1);
      if (update.id === undefined) continue;
      ownIds.push([n + 1, update.id, scopedId(update.id, update.scope), contentDigest(update)]);
    }
    return [
      numbers,
      ownIds.length > 0 && ownIds,
      key !== undefined && [key.key, key.digest, key.publisher ?? ''],
      reopening.length > 0 && reopening,
    ];
  });
  return { headers: headers.infos, calls, data };
}

/** What became of each append, and the entries that are new, in their order. */
function settle(
  appends: readonly WaitingAppend[],
  { before, time, outcomes }: Written,
): {
  readonly entries: readonly Entry[];
  readonly results: readonly (readonly EntryRef[] | JournalError)[];
} {
  const entries: Entry[] = [];
  let nextNumber = parsePosition(before)[1] + 1;
  /** Undefined if these cannot be the updates: they are more or fewer. */
  const place = (updates: readonly Update[], series: readonly string[]) => {
    const refs: EntryRef[] = [];
    for (let at = 0; at < series.length; at += SERIES_LENGTH) {
      const [seriesTime = '', firstText = '', countText = ''] = series.slice(
        at,
        at + SERIES_LENGTH,
      );
      const first = Number(firstText);
      for (let number = first; number < first + Number(countText); number++) {
        const update = updates[refs.length];
        if (update === undefined) return undefined;
        const position = `${seriesTime}-${number}`;
        refs.push({ id: update.id ?? position, position });
        // What was there before has a lower number, or another time.
        if (number !== nextNumber || seriesTime !== time) continue;
        entries.push(toEntry(update, position));
        nextNumber++;
      }
    }
    return refs.length === updates.length ? refs : undefined;
  };
  const results = appends.map(({ updates }, n): readonly EntryRef[] | JournalError => {
    const outcome = outcomes[n] ?? '';
    const [number = 0, topic = 0] = outcome.slice(1).split(' ').map(Number);
    const refused = updates[number - 1];
    if (outcome.startsWith('I')) return idTakenError(refused?.id);
    if (outcome.startsWith('E')) return topicEndedError(refused?.topics[topic - 1] ?? '');
    if (outcome === 'K') return keyTaken();
    return place(updates, outcome.length > 1 ? outcome.slice(1).split(' ') : []) ?? keyTaken();
  });
  return { entries, results };
}

const SERIES_LENGTH = 3;

function keyTaken(): JournalError {
  return new JournalError(
    'ERR_KEY_TAKEN',
    'The key is that of other updates: use a new one for each.',
  );
}

function lengthOf(updates: readonly Update[]): number {
  let length = 0;
  for (const { data } of updates) length += data.length;
  return length;
}
