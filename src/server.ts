import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Config, ConfigError } from './config.js';

/** How long clients have to take their last bytes before their connections are cut. */
const STOP_MS = 1_000;

/**
 * How many connections the system holds until they are accepted (it may allow fewer): when a server comes back,
 * all clients do at once, and one that is turned away tries again seconds later. Node's own default is 511.
 */
const LISTEN_BACKLOG = 8_192;

/** The server of an app. It does not listen yet. */
export function createHttpServer(app: RequestListener): Server {
  return createServer(app);
}

/**
 * Listens where the configuration says. Resolves with the port.
 *
 * @throws {ConfigError} if it cannot listen there.
 */
export function listen(server: Server, config: Config): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new ConfigError(refusal(error, config))));
    server.listen({ port: config.PORT, host: config.HOST, backlog: LISTEN_BACKLOG }, () => {
      server.removeAllListeners('error');
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/**
 * Stops accepting connections, and resolves when all are closed: each after the answer under way, and after a
 * second at most. `endStreams` ends the answers that have no end of their own.
 */
export async function stop(server: Server, endStreams: () => void): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // Who is still answered is told not to use this connection again.
  server.prependListener('request', (_, response) => response.setHeader('Connection', 'close'));
  endStreams();
  // An ended stream leaves its connection idle for the next request, which must not come here.
  const idle = setInterval(() => server.closeIdleConnections(), 20);
  const cut = setTimeout(() => server.closeAllConnections(), STOP_MS);
  await closed;
  clearInterval(idle);
  clearTimeout(cut);
}

/** Why listening failed, with the setting to look at. */
function refusal({ code, message }: NodeJS.ErrnoException, { PORT, HOST }: Config): string {
  switch (code) {
    case 'EADDRINUSE':
      return `PORT ${PORT} is in use: stop what listens there, or set PORT to another.`;
    case 'EACCES':
      return `PORT ${PORT} needs a privilege that this user does not have: set PORT to one above 1023.`;
    default:
      return `HOST ${JSON.stringify(HOST)} is no address to listen on here (${code ?? message}).`;
  }
}
