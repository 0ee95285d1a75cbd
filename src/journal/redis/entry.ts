/**
 * How an entry is stored in Redis: in the stream, under its position, with the fields
 *
 * - `h`, the header: all but the data and the own id, as JSON, without what is not set at its end. Entries of one
 *   publisher and topic have the same one, and scripts look at it but once;
 * - `d`, the data;
 * - `i`, the own id, if it has one.
 */

import { createHash } from 'node:crypto';
import { bytesOfEnding } from '../endings.js';
import type { Ending, Entry, Position, Update } from '../journal.js';
import { type Overhead, ownerOf } from '../retention.js';
import { indexPrefix, textOfPrefix } from './keys.js';

/**
 * The version of all that is stored; a node of another version is refused. Endings came without a new one: nodes that know
 * none go on beside those that do.
 */
export const FORMAT = '1';

/**
 * What Redis takes for an update beside its text, as measured with data of 100 bytes: some 80 bytes in the stream and
 * 100 in the index for each topic, and in lists of the publisher's 40 at most. An own id takes 300 more.
 */
export const REDIS_OVERHEAD: Overhead = { update: 150, topic: 120 };

type Header = readonly [
  topics: readonly string[],
  isPrivate?: boolean,
  type?: string | null,
  retry?: number | null,
  scope?: string | null,
  publisher?: string | null,
  isTransient?: boolean,
  isLast?: boolean,
];

/** What a script is told of updates with the same header. */
export type HeaderInfo = readonly [
  header: string,
  owner: string,
  isTransient: boolean,
  /** What an update counts for, but for its data and its own id. */
  bytes: number,
  indexPrefixes: readonly string[],
  /** Of last updates, what their ending is remembered with. It counts so many bytes, but for the own id. */
  ending: readonly [isPrivate: boolean, bytes: number, publisher: string] | false,
];

/** The headers of a call, each once. */
export class Headers {
  readonly infos: HeaderInfo[] = [];
  readonly #numbers = new Map<string, number>();
  #last: { readonly update: Update; readonly number: number } | undefined;

  /** The number of an update's header. */
  add(update: Update): number {
    if (this.#last && haveSameHeader(this.#last.update, update)) return this.#last.number;
    const header = encodeHeader(update);
    let number = this.#numbers.get(header);
    if (number === undefined) {
      number = this.infos.length;
      this.#numbers.set(header, number);
      this.infos.push([
        header,
        ownerOf(update),
        update.transient === true,
        sizeOfHeader(update),
        update.topics.map((topic) => indexPrefix('topic', topic)),
        update.last === true && [update.private, bytesOfEnding(update), update.publisher ?? ''],
      ]);
    }
    this.#last = { update, number };
    return number;
  }
}

/**
 * Decodes what scripts return of an entry.
 *
 * @returns undefined if it is none that a journal has written.
 */
export function decodeEntry(
  position: Position,
  header: string,
  data: string,
  ownId: string | null,
): Entry | undefined {
  const fields = header === lastDecoded.header ? lastDecoded.fields : decodeHeader(header);
  if (fields === undefined || typeof data !== 'string') return undefined;
  lastDecoded = { header, fields };
  const [topics, isPrivate, type, retry, scope, publisher, isTransient, isLast] = fields;
  return {
    id: ownId ?? position,
    position,
    topics,
    data,
    type: type ?? undefined,
    retry: retry ?? undefined,
    private: isPrivate ?? false,
    scope: scope ?? undefined,
    publisher: publisher ?? undefined,
    transient: isTransient || undefined,
    last: isLast || undefined,
  };
}

/**
 * Decodes what a script returns of an ending; see lua/endings.ts.
 *
 * @param ended - the numbers of the topics that have not been reopened, from 1.
 */
export function decodeEnding(position: Position, value: string, ended: readonly number[]): Ending {
  const [prefixes, isPrivate, , publisher, , ownId] = JSON.parse(value) as StoredEnding;
  const topics = prefixes.map(textOfPrefix);
  return {
    ended: topics.filter((_, index) => ended.includes(index + 1)),
    update: {
      id: ownId ?? position,
      position,
      topics,
      private: isPrivate,
      publisher: publisher === '' ? undefined : publisher,
    },
  };
}

type StoredEnding = readonly [
  indexPrefixes: readonly string[],
  isPrivate: boolean,
  time: number,
  publisher: string,
  bytes: number,
  ownId?: string,
];

/** A text for each pair of an own id and a scope: the length in bytes says where the one ends. */
export function scopedId(id: string, scope: string | undefined): string {
  return scope === undefined ? `:${id}` : `${Buffer.byteLength(id)}:${id}${scope}`;
}

/** Stands for what an update says: two with the same own id and digest are the same update. */
export function contentDigest(update: Update): string {
  const { topics, data, type = null, retry = null, private: isPrivate, last } = update;
  // Without a mark it is as before there was one: repeats are known of updates that are held since then.
  const mark = last === true ? [true] : [];
  const head = JSON.stringify([topics, type, retry, isPrivate, ...mark]);
  return createHash('sha256').update(head).update(data).digest('base64url').slice(0, DIGEST_LENGTH);
}

const DIGEST_LENGTH = 22; // 128 bits and more.

let lastDecoded: { readonly header: string; readonly fields: Header } = {
  header: '',
  fields: [[]],
};

function decodeHeader(header: string): Header | undefined {
  try {
    const fields = JSON.parse(header);
    return Array.isArray(fields) && Array.isArray(fields[0])
      ? (fields as unknown as Header)
      : undefined;
  } catch {
    return undefined;
  }
}

function encodeHeader(update: Update): string {
  const { topics, type = null, retry = null, publisher = null } = update;
  const { transient = false, last = false } = update;
  const scope = update.id === undefined ? null : (update.scope ?? null);
  const fields: Header = [topics, update.private, type, retry, scope, publisher, transient, last];
  let end = fields.length;
  // Most have little of it.
  while (end > 1 && isUnset(fields[end - 1])) end--;
  return JSON.stringify(fields.slice(0, end));
}

function sizeOfHeader({ topics, type = '' }: Update): number {
  let bytes = REDIS_OVERHEAD.update + Buffer.byteLength(type);
  for (const topic of topics) bytes += REDIS_OVERHEAD.topic + Buffer.byteLength(topic);
  return bytes;
}

/** Of one topic: an equality of lists is dearer than what it saves. */
function haveSameHeader(a: Update, b: Update): boolean {
  return (
    a.topics.length === 1 &&
    b.topics.length === 1 &&
    a.topics[0] === b.topics[0] &&
    a.type === b.type &&
    a.retry === b.retry &&
    a.private === b.private &&
    a.publisher === b.publisher &&
    a.transient === b.transient &&
    a.last === b.last &&
    (a.id === undefined) === (b.id === undefined) &&
    a.scope === b.scope
  );
}

function isUnset(field: unknown): boolean {
  return field === null || field === false;
}
