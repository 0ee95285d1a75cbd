import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Config, ConfigError, localUrl } from './config.js';
import { createChat } from './feeds/chat.js';
import { createClock, createLocalTime } from './feeds/clock.js';
import { createCounter } from './feeds/counter.js';
import { createApp } from './http/app.js';
import { sse } from './sse/middleware.js';

/** How long clients have to take their last bytes before their connections are cut. */
const STOP_MS = 1_000;

export interface Service {
  /** Where the service listens, as a URL for a browser on this machine. */
  readonly url: string;
  /** Stops accepting, ends every event stream cleanly and resolves when all connections are closed. */
  stop(): Promise<void>;
}

/**
 * Puts the parts together and listens.
 *
 * @throws {ConfigError} if it cannot listen where the configuration says.
 */
export async function startService(config: Config): Promise<Service> {
  const events = sse({ heartbeatMs: config.HEARTBEAT_MS });
  const app = createApp(config, {
    events,
    clock: createClock(),
    localTime: createLocalTime(),
    counter: createCounter(),
    chat: createChat(),
  });
  const server = createServer(app.callback());
  await listen(server, config);

  const { port } = server.address() as AddressInfo;
  return {
    url: localUrl({ HOST: config.HOST, PORT: port }),
    stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Who is still answered is told not to use this connection again.
      server.prependListener('request', (_, response) => response.setHeader('Connection', 'close'));
      events.streams.end();
      // An ended stream leaves its connection idle for the next request, which must not come here.
      const idle = setInterval(() => server.closeIdleConnections(), 20);
      const cut = setTimeout(() => server.closeAllConnections(), STOP_MS);
      return closed.finally(() => {
        clearInterval(idle);
        clearTimeout(cut);
      });
    },
  };
}

function listen(server: Server, config: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new ConfigError(refusal(error, config))));
    server.listen(config.PORT, config.HOST, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
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
