/** What an acknowledgement promises: what a node waits for after Redis has taken an append. */

import { NoAnswerError } from './failures.js';
import type { Reply } from './line.js';
import type { Session } from './session.js';

export interface Durability {
  /** `disk`: the append is to be on Redis's disk, as far as Redis can say so; `os`: Redis has it. */
  readonly sync: 'disk' | 'os';
  /** How many replicas are to have it. */
  readonly replicas: number;
}

/** How long is waited for replicas or for the disk. */
const CONFIRM_MS = 2000;
/** By then Redis has answered that it is not, or the connection is dead. */
const CONFIRM_TIMEOUT_MS = 3000;

/**
 * Waits until all that was written over a session so far is durable.
 *
 * @returns undefined if there is nothing to wait for.
 * @throws {NoAnswerError} it is not durable in time.
 */
export function confirm(session: Session, durability: Durability): Promise<void> | undefined {
  const isForDisk = waitsForDisk(session, durability);
  if (durability.replicas === 0 && !isForDisk) return undefined;
  return waitFor(session, durability.replicas, isForDisk);
}

/** What an operator should know of a server's promises, if they are less than what is asked for. */
export function durabilityNotice(
  { info: { fsync, hasWaitAof, eviction } }: Session,
  { sync }: Durability,
): string | undefined {
  const notices: string[] = [];
  if (sync === 'disk' && fsync === undefined) {
    notices.push(
      'JOURNAL_SYNC is disk, but Redis writes no AOF: updates that were acknowledged are lost when it ends. Set appendonly yes and appendfsync always, or JOURNAL_SYNC=os.',
    );
  } else if (sync === 'disk' && fsync !== 'always') {
    const promise = hasWaitAof
      ? 'each publish waits for its disk, up to a second'
      : 'after a loss of power, updates of the last second that were acknowledged may be gone';
    notices.push(
      `JOURNAL_SYNC is disk, and the appendfsync of Redis is ${fsync}: ${promise}. Set appendfsync always, or JOURNAL_SYNC=os.`,
    );
  }
  if (eviction?.startsWith('allkeys')) {
    notices.push(
      `The maxmemory-policy of Redis is ${eviction}: when its memory is full, it removes parts of the journal. Set noeviction.`,
    );
  }
  return notices.length > 0 ? notices.join(' ') : undefined;
}

async function waitFor(session: Session, replicas: number, isForDisk: boolean): Promise<void> {
  const command = isForDisk ? ['WAITAOF', '1', `${replicas}`] : ['WAIT', `${replicas}`];
  const asking = session.write.send([...command, `${CONFIRM_MS}`], CONFIRM_TIMEOUT_MS);
  // Whatever is wrong here, the append has been made before it, or may have been.
  const reply = await asking.catch((error: Error) => {
    throw new NoAnswerError(error.message);
  });
  const [local, others] = isForDisk ? (reply as readonly Reply[]) : [1, reply];
  if (local !== 1) throw new NoAnswerError(`It is not on disk within ${CONFIRM_MS} ms`);
  if (Number(others) >= replicas) return;
  throw new NoAnswerError(
    `Of ${replicas} replicas ${others} have confirmed it within ${CONFIRM_MS} ms`,
  );
}

/** Where the server itself does not wait before it answers. */
function waitsForDisk({ info: { fsync, hasWaitAof } }: Session, { sync }: Durability): boolean {
  return sync === 'disk' && fsync !== undefined && fsync !== 'always' && hasWaitAof;
}
