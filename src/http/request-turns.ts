import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { inNextTurn, TurnBudget } from '../time-slice.js';

/**
 * How many `GET` requests begin in one turn of the event loop, if their time is not over before. To open an event
 * stream takes some 0.3 ms, and 4 ms with a hundred templates that nobody has asked for before. When a thousand
 * clients come at once, as they do after a restart, all else would wait until the last of them is served.
 */
const MAX_PER_TURN = 16;

/**
 * How many other requests begin in one turn. Each takes some 0.2 ms, and a connection may send a hundred of them at
 * once. With more, the connections take turns: one that sends one request does not wait for all of those that send many.
 */
const MAX_OTHERS_PER_TURN = 32;

type Exchange = readonly [IncomingMessage, ServerResponse];

/**
 * Handles `GET` requests in their order, a few in each turn of the event loop, and all others at once unless they are
 * very many: so publishers, health checks and deliveries get their turn while a herd is let in.
 */
export function inTurns(handle: RequestListener): RequestListener {
  const waiting = new Set<Exchange>();
  /** Requests other than `GET`, by their connections, in the order in which these have their turn. */
  const others = new Map<Socket, Exchange[]>();
  const budget = new TurnBudget();
  let begun = 0;
  let othersBegun = 0;
  const schedule = inNextTurn(nextTurn);

  function nextTurn(): void {
    othersBegun = 0;
    for (const [socket, exchanges] of others) {
      if (othersBegun === MAX_OTHERS_PER_TURN) break;
      others.delete(socket);
      const [first, ...rest] = exchanges;
      if (rest.length > 0 && !socket.destroyed) others.set(socket, rest);
      if (first !== undefined) beginOther(...first);
    }
    begun = 0;
    for (const each of waiting) {
      if (begun === MAX_PER_TURN || budget.isOver) break;
      waiting.delete(each);
      begin(...each);
    }
    if (waiting.size > 0 || others.size > 0) schedule();
  }

  function begin(request: IncomingMessage, response: ServerResponse): void {
    if (request.socket.destroyed) return; // Its client has left.
    begun += 1;
    schedule();
    handle(request, response);
  }

  function beginOther(request: IncomingMessage, response: ServerResponse): void {
    if (request.socket.destroyed) return;
    othersBegun += 1;
    schedule();
    handle(request, response);
  }

  function takeOther(request: IncomingMessage, response: ServerResponse): void {
    if (others.size === 0 && othersBegun < MAX_OTHERS_PER_TURN) {
      beginOther(request, response);
      return;
    }
    const { socket } = request;
    const before = others.get(socket);
    if (before === undefined) others.set(socket, [[request, response]]);
    else before.push([request, response]);
    schedule();
  }

  return function inTurns(request, response) {
    if (request.method !== 'GET') takeOther(request, response);
    else if (waiting.size === 0 && begun < MAX_PER_TURN && !budget.isOver) begin(request, response);
    else {
      waiting.add([request, response]);
      schedule();
    }
  };
}
