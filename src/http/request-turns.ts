import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { TurnBudget } from '../time-slice.js';

/**
 * How many `GET` requests begin in one turn of the event loop, if their time is not over before. To open an event
 * stream takes some 0.3 ms, and 4 ms with a hundred templates that nobody has asked for before. When a thousand
 * clients come at once, as they do after a restart, all else would wait until the last of them is served.
 */
const MAX_PER_TURN = 16;

/**
 * Handles `GET` requests in their order, a few in each turn of the event loop, and all others at once: so publishers,
 * health checks and deliveries get their turn while a herd is let in.
 */
export function inTurns(handle: RequestListener): RequestListener {
  const waiting = new Set<readonly [IncomingMessage, ServerResponse]>();
  const budget = new TurnBudget();
  let begun = 0;
  let isScheduled = false;

  function nextTurn(): void {
    isScheduled = false;
    begun = 0;
    for (const each of waiting) {
      if (begun === MAX_PER_TURN || budget.isOver) break;
      waiting.delete(each);
      begin(...each);
    }
    if (waiting.size > 0) schedule();
  }

  function begin(request: IncomingMessage, response: ServerResponse): void {
    if (request.socket.destroyed) return; // Its client has left.
    begun += 1;
    schedule();
    handle(request, response);
  }

  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(nextTurn);
  }

  return function inTurns(request, response) {
    if (request.method !== 'GET') handle(request, response);
    else if (waiting.size === 0 && begun < MAX_PER_TURN && !budget.isOver) begin(request, response);
    else {
      waiting.add([request, response]);
      schedule();
    }
  };
}
