import type { Socket } from 'node:net';
import { TurnQueue } from '../time-slice.js';

/**
 * How many connections close in one turn of the event loop. With an event stream on it each takes 50 to 100 µs: its
 * error or end, its answer, its stream, and what hangs on that, down to the announcement that it has ended.
 */
const MAX_PER_TURN = 100;

type Destroy = Socket['_destroy'];

const turns = new TurnQueue(MAX_PER_TURN);

/**
 * Closes this connection, when it is destroyed, as one of a few in each turn of the event loop. When ten thousand
 * clients leave at once, as they do when a proxy goes, the system tells of all of them in one turn, and all else would
 * wait until the last of them is forgotten.
 *
 * Until its turn has come, a connection is what it is between `destroy()` and `'close'` anyway: nothing is written to
 * it, nothing read. It has its descriptor, and counts as open.
 */
export function closeInTurn(socket: Socket): void {
  // Streams have these two methods for those who want to do more, or less, at their ends.
  socket._destroy = destroyInTurn;
  socket._final = finish;
}

/** Where the client has ended its side, the close that follows tells it what a shutdown would, in one step less. */
function finish(this: Socket, callback: (error?: Error | null) => void): void {
  if (this.readableEnded) callback();
  else Object.getPrototypeOf(this)._final.call(this, callback);
}

function destroyInTurn(this: Socket, ...parameters: Parameters<Destroy>): void {
  const close = () => Object.getPrototypeOf(this)._destroy.apply(this, parameters);
  // Or the parser of requests would go on with what arrives.
  if (!turns.add(close)) this.pause();
}
