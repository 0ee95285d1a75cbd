import { performance } from 'node:perf_hooks';

/** Something that writes what it has queued. */
export interface Flushable {
  /** Whether it has much for each of its members, so that each write takes long. */
  readonly isLarge: boolean;
  /** Writes until it is done or the deadline has passed (of `performance.now()`). Returns whether it is done. */
  flush(deadline: number): boolean;
}

/**
 * How long writing goes on before requests have their turn: of that which is little, and then of that which is much.
 * A write to a socket takes some microseconds, but a large one as long as copying it: a thousand audiences that were
 * sent a megabyte each would stop all else for seconds.
 */
const SLICE_MS = 5;

/**
 * After a slice of large writes so many turns are without them: what others wait for often takes several turns. Unless
 * only one writes much: the longer it waits the more it is sent at once, and a client that reads might be skipped.
 */
const LIGHT_TURNS = 7;

let small: Flushable[] = [];
let large: Flushable[] = [];
let waiting: Flushable[] = [];
let lightTurns = 0;
let isScheduled = false;

/**
 * Flushes at the end of this turn of the event loop, after all that was queued here before and is as small; or in one
 * of the next turns, if there is that much to write. What is little goes before what is much, so that strangers who are
 * sent large updates keep nobody waiting.
 *
 * The end of a turn is `setImmediate`, which runs after the I/O callbacks: every request that has arrived by now has
 * its say before the one write. process.nextTick would write once per request.
 *
 * There is one queue in a process, however many copies of this file are loaded: koa-event-stream and koa-sse-hub have one
 * each, and a stream may be in audiences of both. The key names the version of what they agree on, {@link Flushable}.
 */
export const flushAfterTurn = shared('koa-event-stream.flushAfterTurn.1', queueFlush);

/** What all copies of this file use: that of the first one which was loaded. */
function shared<T>(key: string, own: T): T {
  const held = globalThis as { [key: symbol]: unknown };
  held[Symbol.for(key)] ??= own;
  return held[Symbol.for(key)] as T;
}

function queueFlush(flushable: Flushable): void {
  waiting.push(flushable);
  schedule();
}

function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(flushWaiting);
}

function flushWaiting(): void {
  isScheduled = false;
  // What is queued by those that are flushed now is for the next turn.
  for (const flushable of waiting) (flushable.isLarge ? large : small).push(flushable);
  waiting = [];
  small = flushSome(small);
  if (lightTurns > 0) lightTurns -= 1;
  else {
    large = flushSome(large);
    if (large.length > 1) lightTurns = LIGHT_TURNS;
  }
  if (small.length > 0 || large.length > 0) schedule();
}

/** Returns those that are left. */
function flushSome(flushables: Flushable[]): Flushable[] {
  const deadline = performance.now() + SLICE_MS;
  let next = 0;
  while (next < flushables.length && performance.now() < deadline) {
    if (!isDone(flushables[next] as Flushable, deadline)) break;
    next += 1;
  }
  return next === 0 ? flushables : flushables.slice(next);
}

/** What an owner's callback throws is an uncaught exception, and is not to keep others from being flushed. */
function isDone(flushable: Flushable, deadline: number): boolean {
  try {
    return flushable.flush(deadline);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
    return true;
  }
}
