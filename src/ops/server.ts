import { createServer, METHODS, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Router from '@koa/router';
import Koa, { type Middleware } from 'koa';
import { ConfigError } from '../config-error.js';
import { problems } from '../requests/problem.js';

/** Whoever scrapes has one or two; the rest is for those who look by hand. */
const MAX_CONNECTIONS = 64;
const HEAD_TIMEOUT_MS = 5_000;

/** A server for those who operate the service. */
export interface OpsServer {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Serves the metrics, and the probes, on a port of their own.
 *
 * @throws {ConfigError} if it cannot listen there.
 */
export async function listenForOps(
  where: { readonly port: number; readonly host: string | undefined },
  { scrape, health }: { readonly scrape: Middleware; readonly health: Middleware },
): Promise<OpsServer> {
  const router = new Router({ methods: METHODS });
  router.get('/metrics', scrape);
  const app = new Koa();
  app.silent = true; // The service's own app tells what ails the journal.
  app.use(problems());
  app.use(health);
  app.use(router.routes());
  app.use(router.allowedMethods());
  const server = createServer(
    { headersTimeout: HEAD_TIMEOUT_MS, requestTimeout: HEAD_TIMEOUT_MS },
    app.callback(),
  );
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, where);
  const { port } = server.address() as AddressInfo;
  const { host = 'localhost' } = where;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(
  server: Server,
  { port, host }: { readonly port: number; readonly host: string | undefined },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', ({ code, message }: NodeJS.ErrnoException) => {
      const why =
        code === 'EADDRINUSE' ? 'is in use' : `cannot be listened on (${code ?? message})`;
      reject(new ConfigError(`METRICS_PORT ${port} ${why}: set METRICS_PORT to another.`));
    });
    server.listen({ port, host }, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
}
