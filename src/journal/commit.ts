/** What keepers that commit several appends at once have in common. */

import { type PlacedKey, placesOf, refsAt } from './append-keys.js';
import { EndingsDraft, type EndingsPlan } from './endings.js';
import {
  type AppendKey,
  type Entry,
  type EntryRef,
  JournalError,
  type Position,
  type Update,
} from './journal.js';

/** A call of `append` that waits for its commit. */
export interface Append {
  readonly updates: readonly Update[];
  readonly key?: AppendKey | undefined;
  resolve(refs: readonly EntryRef[]): void;
  reject(error: unknown): void;
}

/**
 * A commit takes so many waiting updates, or so many topics or UTF-16 units of data of them, and leaves the rest to
 * the next: it occupies the event loop for some milliseconds.
 */
const MAX_COMMIT_UPDATES = 1000;
const MAX_COMMIT_TOPICS = 4000;
const MAX_COMMIT_LENGTH = 4 * 1024 * 1024;

/** Takes those of the waiting appends that the next commit is for: at least one, whatever its size. */
export function takeWaiting(waiting: Append[]): Append[] {
  let updates = 0;
  let topics = 0;
  let length = 0;
  let count = 0;
  for (const append of waiting) {
    updates += append.updates.length;
    for (const update of append.updates) {
      topics += update.topics.length;
      length += update.data.length;
    }
    const isTooMuch =
      updates > MAX_COMMIT_UPDATES || topics > MAX_COMMIT_TOPICS || length > MAX_COMMIT_LENGTH;
    // The first is taken whatever its size, for it cannot be divided.
    if (count > 0 && isTooMuch) break;
    count++;
  }
  return waiting.splice(0, count);
}

/** What a commit is to append, and how each of its appends ends if it succeeds. */
export interface Plan {
  readonly entries: readonly Entry[];
  readonly outcomes: readonly (readonly EntryRef[] | JournalError)[];
  /** The keys that are to be remembered with the entries. */
  readonly keys: readonly PlacedKey[];
  readonly endings: EndingsPlan;
}

/**
 * Gives the updates of a commit their places. Each append is taken whole or refused whole.
 *
 * @param held - the entry with an own id, in a scope, that is in the journal.
 * @param positionAt - the position of the n-th entry of this commit.
 * @param remembered - what is remembered under a key.
 * @param hasEnded - whether a topic has ended.
 */
export function plan(
  appends: readonly Append[],
  held: (id: string, scope: string | undefined) => Entry | undefined,
  positionAt: (n: number) => Position,
  remembered: (key: string) => PlacedKey | undefined,
  hasEnded: (topic: string) => boolean,
): Plan {
  const entries: Entry[] = [];
  const keys = new Map<string, PlacedKey>();
  const byOwnId = new Map<string, Entry>();
  const endings = new EndingsDraft(hasEnded);

  /** Takes back what a call has placed. */
  const refuse = (before: number, error: JournalError): JournalError => {
    for (const { id, scope } of entries.splice(before)) byOwnId.delete(scopedId(id, scope));
    endings.takeBackCall();
    return error;
  };

  const place = (updates: readonly Update[]): readonly EntryRef[] | JournalError => {
    const before = entries.length;
    const refs: EntryRef[] = [];
    endings.beginCall();
    for (const update of updates) {
      const first =
        update.id === undefined
          ? undefined
          : (byOwnId.get(scopedId(update.id, update.scope)) ?? held(update.id, update.scope));
      if (first === undefined) {
        const ended = endings.refusedFor(update);
        if (ended !== undefined) return refuse(before, topicEndedError(ended));
        const entry = toEntry(update, positionAt(entries.length));
        entries.push(entry);
        endings.add(entry, update);
        if (update.id !== undefined) byOwnId.set(scopedId(update.id, update.scope), entry);
        refs.push(toRef(entry));
      } else if (haveSameContent(first, update)) {
        refs.push(toRef(first));
      } else {
        return refuse(before, idTakenError(update.id));
      }
    }
    return refs;
  };

  const outcomes = appends.map(({ updates, key }) => {
    if (key === undefined) return place(updates);
    const first = keys.get(key.key) ?? remembered(key.key);
    if (first !== undefined) return answerOf(first, key, updates);
    const outcome = place(updates);
    // What was refused is not remembered: a repeat of it is made anew.
    if (!(outcome instanceof JournalError)) {
      const { digest, publisher } = key;
      keys.set(key.key, { key: key.key, digest, publisher, places: placesOf(outcome) });
    }
    return outcome;
  });
  return { entries, outcomes, keys: [...keys.values()], endings: endings.plan(entries) };
}

/** How an append ends whose key is that of another one. */
function answerOf(
  first: PlacedKey,
  { digest }: AppendKey,
  updates: readonly Update[],
): readonly EntryRef[] | JournalError {
  const refs = first.digest === digest ? refsAt(first.places, updates) : undefined;
  return (
    refs ??
    new JournalError('ERR_KEY_TAKEN', 'The key is that of other updates: use a new one for each.')
  );
}

/** Ends appends whose commit has succeeded. */
export function settle(appends: readonly Append[], { outcomes }: Plan): void {
  appends.forEach((append, index) => {
    const outcome = outcomes[index] as Plan['outcomes'][number];
    if (outcome instanceof JournalError) append.reject(outcome);
    else append.resolve(outcome);
  });
}

export function toRef({ id, position }: EntryRef): EntryRef {
  return { id, position };
}

/** How often to look for updates that have become too old: late by a tenth of their age, or a second. */
export function ageCheckMs(maxAgeMs: number): number {
  return Math.min(Math.max(Math.floor(maxAgeMs / 10), 1), 1000);
}

export function idTakenError(id: string | undefined): JournalError {
  return new JournalError(
    'ERR_ID_TAKEN',
    `The id ${JSON.stringify(id)} is that of another update: give each update its own.`,
  );
}

export function topicEndedError(topic: string): JournalError {
  return new JournalError(
    'ERR_TOPIC_ENDED',
    `The topic ${JSON.stringify(topic)} has ended: publish to another one, or reopen it with the update.`,
  );
}

export function closedError(): JournalError {
  return new JournalError('ERR_JOURNAL_CLOSED', 'The journal has been closed.');
}

/** The entry that an update becomes. */
export function toEntry(update: Update, position: Position): Entry {
  const { id = position, topics, data, type, retry, private: isPrivate } = update;
  const { scope, publisher, transient, last } = update;
  return {
    id,
    position,
    topics,
    data,
    type,
    retry,
    private: isPrivate,
    // Without an own id there is nothing that it could tell apart.
    scope: update.id === undefined ? undefined : scope,
    publisher,
    transient: transient === true ? true : undefined,
    last: last === true ? true : undefined,
  };
}

/** A text for each pair of an id and a scope: the length says where the one ends. */
function scopedId(id: string, scope: string | undefined): string {
  return scope === undefined ? `:${id}` : `${id.length}:${id}${scope}`;
}

function haveSameContent(a: Update, b: Update): boolean {
  return (
    a.data === b.data &&
    a.type === b.type &&
    a.retry === b.retry &&
    a.private === b.private &&
    (a.last === true) === (b.last === true) &&
    a.topics.length === b.topics.length &&
    a.topics.every((topic, index) => topic === b.topics[index])
  );
}
