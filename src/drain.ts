import type { Server } from 'node:http';

/** How long clients have to take their last bytes before their connections are cut. */
const LAST_BYTES_MS = 1_000;

const draining = new WeakSet<Server>();

/** Whether a server is stopping: its answers tell their clients to close the connection. */
export function isDraining(server: Server): boolean {
  return draining.has(server);
}

/**
 * Stops accepting connections, and resolves when all are closed: each after the answer under way, and after a
 * second at most. `endStreams` ends the answers that have no end of their own.
 */
export async function drain(server: Server, endStreams: () => void): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  draining.add(server);
  endStreams();
  // An ended stream leaves its connection idle for the next request, which must not come here.
  const idle = setInterval(() => server.closeIdleConnections(), 20);
  const cut = setTimeout(() => server.closeAllConnections(), LAST_BYTES_MS);
  await closed;
  clearInterval(idle);
  clearTimeout(cut);
}
