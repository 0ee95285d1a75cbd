import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type Koa from 'koa';
import { type Config, readConfig } from '../../src/config.js';
import { type Service, startService } from '../../src/service.js';

/** What the services under test verify tokens with. */
export const JWT_KEY = 'a secret of the tests, which has 32 bytes and more';

export interface TestServer {
  readonly url: string;
  readonly server: Server;
  close(): Promise<void>;
}

/** Serves an app on a free port of this machine. */
export async function serve(app: Koa): Promise<TestServer> {
  const server = createServer(app.callback());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    server,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Starts the whole service on a free port, configured as by these environment variables. */
export function startTestService(env: Record<string, string> = {}): Promise<Service> {
  return startService(testConfig(env));
}

const TEST_SETTINGS = {
  PORT: '0',
  HOST: '127.0.0.1',
  JOURNAL: 'memory:',
  JWT_KEY,
  LOG_LEVEL: 'warn',
  // What is on its way when a test stops a service is nothing that it waits for.
  DRAIN_DELAY_MS: '0',
};

export function testConfig(env: Record<string, string> = {}): Config {
  return readConfig({ ...TEST_SETTINGS, ...env });
}
