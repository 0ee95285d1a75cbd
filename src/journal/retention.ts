/** What keepers have in common of retention: what an update counts for, and whose go first. */

import type { Entry, Retention, Update } from './journal.js';

/** What somebody's entries come to, or all of them. */
export interface Holding {
  readonly count: number;
  readonly bytes: number;
}

export const NOTHING: Holding = { count: 0, bytes: 0 };

/** The limits of a count and of bytes; see {@link Retention}. */
export type Limits = Holding;

/** Transient entries belong to nobody but this: see {@link ownerOf}. */
export const TRANSIENT = 'transient';

const DEFAULT_SHARE = 0.5;
const DEFAULT_MAX_TRANSIENT = 10_000;
/** 1,600 bytes for each of 10,000: those of presence take some 600. */
const MAX_TRANSIENT_BYTES = 16 * 1024 * 1024;

/** What a keeper takes for an update beside its text, and for each topic of it, in bytes. */
export interface Overhead {
  readonly update: number;
  readonly topic: number;
}

/** On disk: some 150 bytes, and for each topic a place in an index. */
export const DISK_OVERHEAD: Overhead = { update: 200, topic: 50 };

/**
 * In memory: some 300 bytes, for an own id as many again, and some 200 for each topic that no other update has. A
 * topic that others have too takes 50, but counts the same, so that the bound holds whatever the topics are.
 */
export const MEMORY_OVERHEAD: Overhead = { update: 250, topic: 200 };

/** The least that an update counts for on disk: it has a topic. */
export const MIN_UPDATE_BYTES = DISK_OVERHEAD.update + DISK_OVERHEAD.topic + 1;

/** What an entry counts for. An id that is its position is given to it, and counts for nothing. */
export function sizeOf(entry: Entry, overhead: Overhead): Holding {
  const { id, position, topics, data, type } = entry;
  let bytes = overhead.update + Buffer.byteLength(data);
  for (const topic of topics) bytes += overhead.topic + Buffer.byteLength(topic);
  if (type !== undefined) bytes += Buffer.byteLength(type);
  if (id !== position) bytes += Buffer.byteLength(id);
  return { count: 1, bytes };
}

/** Whose share an update counts to: its publisher's, that of all who have no name, or {@link TRANSIENT}. */
export function ownerOf({ publisher, transient }: Update): string {
  if (transient) return TRANSIENT;
  if (publisher === undefined) return 'nobody';
  // Updates often come from one publisher in a row, and whoever asks looks the text up in a map, where a new one
  // would be hashed again.
  if (publisher !== lastPublisher) {
    lastPublisher = publisher;
    lastOwner = `publisher ${publisher}`;
  }
  return lastOwner;
}

let lastPublisher: string | undefined;
let lastOwner = '';

/** The limits of all updates that are not transient. */
export function lastingLimits({ maxUpdates, maxBytes = 0 }: Retention): Limits {
  return { count: maxUpdates, bytes: maxBytes === 0 ? Number.POSITIVE_INFINITY : maxBytes };
}

export function transientLimits({ maxTransient = DEFAULT_MAX_TRANSIENT }: Retention): Limits {
  return { count: maxTransient, bytes: MAX_TRANSIENT_BYTES };
}

/** Which limit a holding is over, if any. */
export function overWhich(holding: Holding, limits: Limits): keyof Holding | undefined {
  if (holding.count > limits.count) return 'count';
  return holding.bytes > limits.bytes ? 'bytes' : undefined;
}

export function plus(a: Holding, b: Holding): Holding {
  return { count: a.count + b.count, bytes: a.bytes + b.bytes };
}

export function minus(a: Holding, b: Holding): Holding {
  return { count: a.count - b.count, bytes: a.bytes - b.bytes };
}

/**
 * Who holds more than their share. It remembers nobody else: of each limit there can be no more of them than
 * the share goes into it, and one.
 */
export class Shares {
  /** Beyond this an owner's entries go first. */
  readonly threshold: Holding;
  readonly #over = new Map<string, Holding>();

  constructor(retention: Retention) {
    const { publisherShare = DEFAULT_SHARE } = retention;
    const { count, bytes } = lastingLimits(retention);
    const share = publisherShare < 1 ? publisherShare : Number.POSITIVE_INFINITY;
    this.threshold = { count: share * count, bytes: share * bytes };
  }

  /** Takes note of what an owner holds now. */
  note(owner: string, holding: Holding): void {
    const { count, bytes } = this.threshold;
    if (holding.count > count || holding.bytes > bytes) this.#over.set(owner, holding);
    else this.#over.delete(owner);
  }

  /** The owner that holds most of a limit, if that is more than its share. */
  heaviest(kind: keyof Holding): string | undefined {
    let found: string | undefined;
    let most = this.threshold[kind];
    for (const [owner, holding] of this.#over) {
      if (holding[kind] > most) {
        found = owner;
        most = holding[kind];
      }
    }
    return found;
  }
}
