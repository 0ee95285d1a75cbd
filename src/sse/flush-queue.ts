import { performance } from 'node:perf_hooks';
/** Something that writes what it has queued. */
export interface Flushable {
  /** Writes until it is done or the deadline has passed (of `performance.now()`). Returns whether it is done. */
  flush(deadline: number): boolean;
}

/**
 * How long writing goes on before requests have their turn. A write to a socket takes some microseconds, but a
 * large one as long as copying it: a thousand audiences that were sent a megabyte each would stop all else for
 * seconds.
 */
const SLICE_MS = 10;

let waiting: Flushable[] = [];

/**
 * Flushes at the end of this turn of the event loop, after all that was queued here before; or in one of the next
 * turns, if there is that much to write.
 *
 * The end of a turn is `setImmediate`, which runs after the I/O callbacks: every request that has arrived by now has
 * its say before the one write. process.nextTick would write once per request.
 */
export function flushAfterTurn(flushable: Flushable): void {
  if (waiting.length === 0) setImmediate(flushWaiting);
  waiting.push(flushable);
}

function flushWaiting(): void {
  const flushables = waiting;
  // What is queued by those that are flushed now is for the next turn.
  waiting = [];
  const deadline = performance.now() + SLICE_MS;
  let next = 0;
  try {
    while (next < flushables.length && performance.now() < deadline) {
      const flushable = flushables[next] as Flushable;
      next += 1; // Also if it throws: then it is not flushed again.
      if (!flushable.flush(deadline)) next -= 1;
    }
  } finally {
    const rest = flushables.slice(next);
    if (rest.length > 0) {
      if (waiting.length === 0) setImmediate(flushWaiting);
      waiting = rest.concat(waiting);
    }
  }
}
