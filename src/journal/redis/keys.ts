/** Under which keys a journal is stored in Redis, and how its index is ordered. */

import { type Position, parsePosition } from '../journal.js';

/** Beyond this a topic or an id is no topic or id. */
export const MAX_KEY_BYTES = 1024;

/**
 * The fixed keys, in the order in which every script is given them. The braces put all keys of a journal into one slot of
 * a cluster. Beside these there are lists: `{prefix}:runs:OWNER` of where the updates of an owner stand, and
 * `{prefix}:keys-of:PUBLISHER` of the publisher's idempotency keys, oldest first; and sorted sets,
 * `{prefix}:endings-of:PUBLISHER` of the publisher's endings.
 */
export function keysOf(prefix: string): readonly string[] {
  return NAMES.map((name) => `{${prefix}}:${name}`);
}

const NAMES = [
  /** A hash: the format, the clock, what is held and what was trimmed; see scripts.ts. */
  'meta',
  /** The stream. An entry's id is its position, its fields are as entry.ts says. */
  'entries',
  /** A sorted set of members in lexical order: a topic or an own id and a position; see {@link indexPrefix}. */
  'index',
  /** A hash: an own id in its scope → its position and the digest of its content. */
  'ids',
  /** Two sorted sets: how many updates an owner holds, and how many bytes. */
  'counts',
  'bytes',
  /** A hash: a topic → the newest public and the newest private entry of it that were trimmed from between others. */
  'gaps',
  /** A sorted set: these topics, in the order in which they are forgotten. */
  'gap-order',
  /** A hash: an idempotency key → what it stands for and where its updates stand. */
  'keys',
  /** A sorted set: these keys, by when they were first used. */
  'key-order',
  /** A sorted set: how many bytes of keys a publisher has. */
  'key-bytes',
  /** A hash: a topic that has ended, as an {@link indexPrefix} → the position of its last update. */
  'ended',
  /** A hash: the position of a last update → whose it is, and of which topics. */
  'endings',
  /** A sorted set: these positions, by their second numbers. */
  'ending-order',
  /** A sorted set: how many bytes of endings a publisher has. */
  'ending-bytes',
] as const;

/** What is indexed. */
export type IndexKind = 'topic' | 'id';

/** How the members of the index start that are of a topic or of an own id. A position follows. */
export function indexPrefix(kind: IndexKind, text: string): string {
  // A zero ends the text, so zeros in it are written so that they stay before everything else.
  const escaped = text.includes('\0') ? text.replaceAll('\0', '\0\x01') : text;
  return `${kind === 'topic' ? 't' : 'i'}${escaped}\0\0`;
}

/** The text of which an index prefix was made. */
export function textOfPrefix(prefix: string): string {
  return prefix.slice(1, -2).replaceAll('\0\x01', '\0');
}

/** A position as a text that is ordered as positions are: each number after the number of its digits. */
export function toPlace(position: Position): string {
  const dash = position.indexOf('-');
  const sequence = position.slice(dash + 1);
  return `${digits(dash)}${position.slice(0, dash)}${digits(sequence.length)}${sequence}`;
}

/** The position that {@link toPlace} has made a text of. */
export function fromPlace(place: string): Position {
  const epochEnd = 1 + place.charCodeAt(0) - NO_DIGITS;
  return `${place.slice(1, epochEnd)}-${place.slice(epochEnd + 1)}`;
}

/** Whether `next` is the position of the very next entry that was ever appended after the one at `position`. */
export function isNextTo(position: Position, next: Position): boolean {
  return parsePosition(next)[1] === parsePosition(position)[1] + 1;
}

const NO_DIGITS = 64;

function digits(count: number): string {
  return String.fromCharCode(NO_DIGITS + count);
}
