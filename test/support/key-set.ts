import type { JsonWebKey, KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server of a JSON Web Key Set, whose keys and answers the test decides. */
export interface KeySetServer {
  readonly url: string;
  readonly server: Server;
  keys: JsonWebKey[];
  requests: number;
  /** Answers in another way, until the reset. */
  answer(how: (response: ServerResponse) => void): void;
  reset(): void;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export const jwk = (pair: { publicKey: KeyObject }, kid: string): JsonWebKey => ({
  ...pair.publicKey.export({ format: 'jwk' }),
  kid,
});

export async function startKeySet(): Promise<KeySetServer> {
  let how: ((response: ServerResponse) => void) | undefined;
  const server = createServer((_, response) => {
    keySet.requests++;
    if (how !== undefined) how(response);
    else response.end(JSON.stringify({ keys: keySet.keys }));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const keySet: KeySetServer = {
    url: `http://127.0.0.1:${port}/jwks.json`,
    server,
    keys: [],
    requests: 0,
    answer(other) {
      how = other;
    },
    reset() {
      how = undefined;
      keySet.keys = [];
      keySet.requests = 0;
    },
    async start() {
      if (!server.listening) await once(server.listen(port, '127.0.0.1'), 'listening');
    },
    async stop() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  return keySet;
}
