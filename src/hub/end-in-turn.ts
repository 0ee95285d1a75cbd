import type { EventStream } from '../sse/event-stream.js';
import { TurnQueue } from '../time-slice.js';

/** How many streams end in one turn of the event loop. Each takes some 50 µs, with all that hangs on it. */
const MAX_PER_TURN = 50;

const turns = new TurnQueue(MAX_PER_TURN);

/**
 * Ends a stream as one of a few in each turn, after all that was sent to it: the last update of a topic may end the
 * streams of ten thousand clients at once.
 */
export function endInTurn(stream: EventStream): void {
  turns.add(() => stream.end());
}
