import type { IncomingMessage } from 'node:http';
import { inNextTurn, TurnBudget } from '../time-slice.js';

/** Of all bodies. */
const budget = new TurnBudget();
/** Requests whose bodies are read on in one of the next turns. */
const waiting = new Set<IncomingMessage>();
const schedule = inNextTurn(goOn);

/**
 * Reads the body of this request in turns, if it is long: its first piece at once, and further ones as long as all such
 * bodies together have time in this turn of the event loop. The system hands over a megabyte of each connection in one
 * turn; those who send many of them at once would keep all others waiting.
 */
export function readInTurns(request: IncomingMessage): void {
  request.once('data', () => request.on('data', waitIfOver));
}

function waitIfOver(this: IncomingMessage): void {
  if (!budget.isOver) return;
  this.pause();
  waiting.add(this);
  schedule();
}

function goOn(): void {
  for (const request of waiting) {
    if (budget.isOver) break;
    waiting.delete(request);
    request.resume();
  }
  if (waiting.size > 0) schedule();
}
