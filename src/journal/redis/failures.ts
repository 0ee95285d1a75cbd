/** What can go wrong between a node and Redis, and what is known then. */

import { JournalError } from '../journal.js';

/** Nothing was sent: Redis is away. */
export class AwayError extends Error {}

/** Something was sent, and the connection ended or stood still before the answer came. */
export class NoAnswerError extends Error {}

/** The server, or what it has stored, is of a version that this one does not know. No retry mends that. */
export class UnfitError extends Error {}

/** Redis has answered with an error. */
export class RefusedError extends Error {
  /** The first word of the answer: `OOM`, `READONLY`, `NOPERM`. */
  readonly reason: string;

  constructor(message: string) {
    super(message);
    this.reason = reasonOf(message);
  }

  /** Where a cluster says that the keys are, as `host:port`. */
  get movedTo(): string | undefined {
    return this.reason === 'MOVED' ? /MOVED \d+ (\S*:\d+)/.exec(this.message)?.[1] : undefined;
  }

  /** Whether a new connection may find a server that does better, or learn what is wrong. */
  get isOfConnection(): boolean {
    return OF_CONNECTION.has(this.reason);
  }

  /** Whether trying again is of no use before somebody changes something. */
  get isLasting(): boolean {
    return LASTING.has(this.reason);
  }
}

/** Answers that say that nothing was done, and why. Within scripts they come in another text. */
const REASONS = [
  'READONLY',
  'OOM',
  'MISCONF',
  'NOPERM',
  'LOADING',
  'MASTERDOWN',
  'NOREPLICAS',
  'CLUSTERDOWN',
  'MOVED',
  'ASK',
  'TRYAGAIN',
  'CROSSSLOT',
  'BUSY',
  'NOAUTH',
  'WRONGPASS',
  'NOSCRIPT',
  'UNBLOCKED',
  'WRONGTYPE',
] as const;

const OF_CONNECTION = new Set(['READONLY', 'MASTERDOWN', 'MOVED', 'NOAUTH', 'NOPERM', 'LOADING']);
const LASTING = new Set(['WRONGPASS', 'NOAUTH', 'NOPERM', 'WRONGTYPE', 'CROSSSLOT']);

function reasonOf(message: string): string {
  const first = message.split(' ', 1)[0] ?? '';
  if (REASONS.some((reason) => reason === first)) return first;
  // "ERR Error running script (call to f_…): @user_script:20: -OOM command not allowed …"; "@user_script: 20: -OOM …"
  const inside = /-([A-Z]+) /.exec(message)?.[1] ?? '';
  if (REASONS.some((reason) => reason === inside)) return inside;
  // Of the user's permissions each version speaks in words of its own.
  return /permission|ACL|can't (run|access)/.test(message) ? 'NOPERM' : first;
}

/** Whether an error says for certain that a script has written nothing. */
export function isNothingWritten(error: unknown): boolean {
  if (error instanceof AwayError || error instanceof UnfitError) return true;
  return error instanceof RefusedError && REASONS.some((reason) => reason === error.reason);
}

/** What a caller is told of a read, or of an append of which nothing was written. */
export function unavailable(error: unknown): JournalError {
  return new JournalError(
    'ERR_JOURNAL_UNAVAILABLE',
    `The journal in Redis cannot be used now: ${reasonText(error)}`,
    { cause: error },
  );
}

/** What a caller is told of an append of which something may have been written. */
export function outcomeUnknown(error: unknown): JournalError {
  return new JournalError(
    'ERR_JOURNAL_OUTCOME_UNKNOWN',
    `Whether Redis has appended the updates is not known: ${reasonText(error)} A repeat with the same key or own ids leaves them there once.`,
    { cause: error },
  );
}

/** One sentence for a person. */
export function reasonText(error: unknown): string {
  const text = error instanceof Error ? innermost(error).message : String(error);
  const line = text.replace(OF_SCRIPT, '').replace(/\s+/g, ' ').trim();
  const remedy = error instanceof RefusedError ? REMEDIES[error.reason] : undefined;
  const sentence = /[.!?]$/.test(line) ? line : `${line}.`;
  return remedy === undefined ? sentence : `${sentence} ${remedy}`;
}

/** Where in which script Redis has met an error: nobody but us knows these. */
const OF_SCRIPT = / script: [\da-f]{40}, on @user_script:\d+\.?/;

const REMEDIES: Readonly<Record<string, string>> = {
  OOM: 'Give it more memory (maxmemory), or let the journal keep less (JOURNAL_MAX_BYTES).',
  READONLY: 'It is a replica: name its primary.',
  MISCONF: 'See that its disk has room and works.',
  NOPERM: 'Give its user the permissions that docs/operations.md lists.',
  CROSSSLOT: 'It is a cluster: name it with redis+cluster://.',
  MOVED: 'It is a cluster: name it with redis+cluster://.',
};

/** Several addresses that were tried at once come as one error without a text. */
function innermost(error: Error): Error {
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return error.errors[0];
  return error;
}
