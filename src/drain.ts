import type { Server } from 'node:http';
import { Server as TcpServer } from 'node:net';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { OpenConnections } from './http/open-connections.js';

/** How a server is stopped. */
export interface StopOptions {
  /** Milliseconds for which all goes on as before, but that the server says it is draining. Default: none. */
  readonly delayMs?: number;
  /** Milliseconds that requests under way may take once the streams have ended. Default: 25 seconds. */
  readonly answersMs?: number;
  /** Ends the answers that have no end of their own. Called after the delay; the server goes on until it resolves. */
  readonly endStreams: () => Promise<void> | void;
}

const DEFAULT_ANSWERS_MS = 25_000;
/** Between two requests a client learns from the first one's answer, within this time, that it is the last. */
const LAST_REQUEST_MS = 50;
/** How long the server goes on accepting if its queue of connections does not become empty. */
const ACCEPT_MS = 10_000;
const QUIET_MS = 20;
/** How long clients have to take their last bytes before their connections are cut. */
const LAST_BYTES_MS = 1_000;
const CHECK_MS = 20;

const draining = new WeakSet<Server>();
const closing = new WeakSet<Server>();

/** Whether a server has been told to stop: nobody should send it clients any more. */
export function isDraining(server: Server): boolean {
  return draining.has(server);
}

/** Whether the delay is over as well: new streams are refused, and answers tell their clients to close the connection. */
export function isClosing(server: Server): boolean {
  return closing.has(server);
}

/**
 * Stops a server so that each request which has reached this machine is answered. Resolves when all connections are
 * closed: those without a request under way after a second at most.
 */
export async function drain(server: Server, options: StopOptions): Promise<void> {
  const { delayMs = 0, answersMs = DEFAULT_ANSWERS_MS, endStreams } = options;
  draining.add(server);
  if (delayMs > 0) await delay(delayMs);
  // What clients have pipelined is read before an answer says that it is the last.
  await turn();
  await turn();
  closing.add(server);
  const isUsed = OpenConnections.of(server).count > 0;
  await Promise.all([endStreams(), isUsed && delay(LAST_REQUEST_MS)]);
  await acceptWaiting(server);
  await closeWhenAnswered(server, answersMs);
}

/**
 * Resolves when no connection waits to be accepted: closing the server would reset those. Node accepts one in each turn
 * of the event loop at least, so after two turns without one there was none. A busy system hands one over some time after
 * its client has been told that it is connected.
 */
async function acceptWaiting(server: Server): Promise<void> {
  let quietTurns = 0;
  let quietSince = performance.now();
  const accepted = () => {
    quietTurns = -1;
    quietSince = performance.now();
  };
  server.on('connection', accepted).on('drop', accepted);
  const latest = performance.now() + ACCEPT_MS;
  const isQuiet = () => quietTurns >= 2 && performance.now() - quietSince >= QUIET_MS;
  while (!isQuiet() && performance.now() < latest) {
    // The wait is in the poll for connections, and a turn follows it.
    if (quietTurns >= 2) await delay(1);
    await turn();
    quietTurns += 1;
  }
  server.off('connection', accepted).off('drop', accepted);
}

async function closeWhenAnswered(server: Server, answersMs: number): Promise<void> {
  const connections = OpenConnections.of(server);
  // Not `http.Server.close`: it would at once destroy connections whose next request has arrived and was not read yet.
  const closed = new Promise<void>((resolve) => {
    TcpServer.prototype.close.call(server, () => resolve());
  });
  connections.takeNoMore();
  const latest = performance.now() + answersMs;
  const check = setInterval(() => {
    // Right after all that has arrived was read: what is idle then has no request.
    setImmediate(() => server.closeIdleConnections());
    if (performance.now() < latest) connections.cutUnused(LAST_BYTES_MS);
    else server.closeAllConnections();
  }, CHECK_MS);
  await closed;
  clearInterval(check);
  server.close(); // Stops Node's check for requests that take too long.
}
