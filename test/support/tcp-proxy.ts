import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { freePort } from './free-port.js';

/** Stands between clients and a server, and fails as networks do. */
export interface TcpProxy {
  readonly port: number;
  /** How many connections there are now. */
  readonly connections: number;
  /** Resets all connections and refuses new ones. */
  cut(): Promise<void>;
  /**
   * Passes nothing on any more, and closes nothing: packets are lost. With `answers`, what clients send still goes
   * to the server.
   */
  hold(what?: 'all' | 'answers'): void;
  /** Passes everything again. What was held back is lost, and so are its connections. */
  heal(): Promise<void>;
  close(): Promise<void>;
}

/** Passes everything to a port of this machine, until told otherwise. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const proxy = new LocalProxy(targetPort);
  await proxy.listen(await freePort());
  return proxy;
}

interface Pair {
  readonly client: Socket;
  readonly target: Socket;
  /** Something was held back: what would follow makes no sense. */
  isBroken: boolean;
}

class LocalProxy implements TcpProxy {
  port = 0;
  readonly #targetPort: number;
  readonly #pairs = new Set<Pair>();
  #server: Server | undefined;
  #held: 'nothing' | 'all' | 'answers' = 'nothing';

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  async listen(port: number): Promise<void> {
    const server = createServer((client) => this.#connect(client)).listen(port, '127.0.0.1');
    this.#server = server;
    await once(server, 'listening');
    this.port = (server.address() as { port: number }).port;
  }

  async cut(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (this.#server) this.#server.close(() => resolve());
      else resolve();
    });
    this.#server = undefined;
    for (const pair of this.#pairs) this.#end(pair);
    await closed;
  }

  hold(what: 'all' | 'answers' = 'all'): void {
    this.#held = what;
  }

  async heal(): Promise<void> {
    this.#held = 'nothing';
    for (const pair of this.#pairs) if (pair.isBroken) this.#end(pair);
    if (this.#server === undefined) await this.listen(this.port);
  }

  close(): Promise<void> {
    return this.cut();
  }

  #connect(client: Socket): void {
    const target = connect(this.#targetPort, '127.0.0.1');
    const pair: Pair = { client, target, isBroken: false };
    this.#pairs.add(pair);
    client.setNoDelay(true);
    target.setNoDelay(true);
    client.on('data', (bytes) => {
      if (this.#held === 'all') pair.isBroken = true;
      else target.write(bytes);
    });
    target.on('data', (bytes) => {
      if (this.#held === 'nothing') client.write(bytes);
      else pair.isBroken = true;
    });
    for (const socket of [client, target]) {
      socket.on('error', () => {});
      socket.on('close', () => {
        if (this.#held === 'nothing') this.#end(pair);
        else pair.isBroken = true;
      });
    }
  }

  #end(pair: Pair): void {
    this.#pairs.delete(pair);
    pair.client.resetAndDestroy();
    pair.target.destroy();
  }
}
