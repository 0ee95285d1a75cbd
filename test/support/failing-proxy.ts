import { once } from 'node:events';
import { createServer, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** What a proxy does with requests: passes them on, answers all with a status, or resets connections. */
export type Behaviour = 'pass' | 'reset' | number;

/** How long a test waits for a request that does not come. */
const PATIENCE_MS = 25_000;

/** Stands between a client and a service, and fails as proxies do. */
export interface FailingProxy {
  readonly url: string;
  readonly port: number;
  /** From now on does this with new requests. Open streams go on; with `reset` they are cut. */
  behave(behaviour: Behaviour): void;
  /** Ends all open streams in order, after this text. */
  endStreams(lastText?: string): void;
  /**
   * Resolves when this has been done with so many requests since it was told to. A request without a cursor counts as
   * passed when the first bytes of its stream have come, one with a cursor when its head has. Rejects when they do not
   * come: their client has given up.
   */
  hasDone(behaviour: Behaviour, count?: number): Promise<void>;
  /** How many requests were answered with this status, by the service or by the proxy. */
  answers(status: number): number;
  close(): Promise<void>;
}

/**
 * Starts a proxy on a free port of this machine.
 *
 * @param targetPort - the service's.
 * @param files - what it serves by itself, by path: pages and scripts of the same origin.
 */
export async function startFailingProxy(
  targetPort: number,
  files: ReadonlyMap<string, { readonly type: string; readonly text: string }> = new Map(),
): Promise<FailingProxy> {
  let behaviour: Behaviour = 'pass';
  let done: Behaviour[] = [];
  const answered: number[] = [];
  const streams = new Set<ServerResponse>();
  const sockets = new Set<Socket>();
  let look = (): void => undefined;
  const note = (what: Behaviour) => {
    done.push(what);
    look();
  };

  const server: Server = createServer((incoming, response) => {
    const file = files.get(incoming.url ?? '');
    if (file !== undefined) {
      response.writeHead(200, { 'Content-Type': file.type }).end(file.text);
      return;
    }
    if (typeof behaviour === 'number') {
      answered.push(behaviour);
      // What nginx says, without its page.
      response.writeHead(behaviour, { 'Content-Type': 'text/html' });
      response.end('<h1>Bad Gateway</h1>');
      note(behaviour);
      return;
    }
    const { url = '', method, headers } = incoming;
    const hasCursor = headers['last-event-id'] !== undefined || url.includes('lastEventID=');
    const outgoing = request({ port: targetPort, host: '127.0.0.1', path: url, method, headers });
    outgoing.on('error', () => response.destroy());
    outgoing.once('response', (answer) => {
      const status = answer.statusCode as number;
      answered.push(status);
      response.writeHead(status, answer.headers).flushHeaders();
      streams.add(response);
      if (hasCursor) note('pass');
      else answer.once('data', () => note('pass'));
      answer.on('error', () => response.destroy());
      answer.pipe(response);
    });
    response.once('close', () => {
      streams.delete(response);
      outgoing.destroy();
    });
    incoming.pipe(outgoing);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    if (behaviour !== 'reset') return;
    socket.resetAndDestroy();
    note('reset');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}`,
    port,
    behave(next) {
      behaviour = next;
      done = [];
      if (next === 'reset') for (const socket of sockets) socket.resetAndDestroy();
    },
    endStreams(lastText = '') {
      for (const stream of streams) stream.end(lastText);
    },
    async hasDone(what, count = 1) {
      const missing = () => count - done.filter((each) => each === what).length;
      while (missing() > 0) {
        await new Promise<void>((resolve, reject) => {
          const giveUp = () => reject(new Error(`${missing()} requests to ${what} have not come.`));
          const timer = setTimeout(giveUp, PATIENCE_MS);
          look = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
    answers: (status) => answered.filter((each) => each === status).length,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
