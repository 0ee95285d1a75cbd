import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { existingPipeline } from './pipeline.js';

const connectionsOf = new WeakMap<Server, OpenConnections>();

/** The connections that a server has open: Node does not tell which of them have requests under way. */
export class OpenConnections {
  readonly #sockets = new Set<Socket>();
  readonly #unusedSince = new WeakMap<Socket, number>();

  /** @param server that has accepted no connection yet. */
  static watch(server: Server): void {
    const connections = new OpenConnections();
    const sockets = connections.#sockets;
    connectionsOf.set(server, connections);
    // One listener for all: a closure for each is memory that ten thousand idle clients feel.
    function forget(this: Socket): void {
      sockets.delete(this);
    }
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('close', forget);
    });
  }

  /** Those of a server that is watched; of another one, none. */
  static of(server: Server): OpenConnections {
    return connectionsOf.get(server) ?? new OpenConnections();
  }

  get count(): number {
    return this.#sockets.size;
  }

  /** Cuts those that are found to have had no request under way for so many milliseconds. Event streams are none. */
  cutUnused(ms: number): void {
    const now = performance.now();
    for (const socket of this.#sockets) {
      if (existingPipeline(socket)?.isAnswering) this.#unusedSince.delete(socket);
      else {
        const since = this.#unusedSince.get(socket) ?? now;
        this.#unusedSince.set(socket, since);
        if (now - since >= ms) socket.destroy();
      }
    }
  }

  /** OpenConnections with a request under way take no more: they close with the answer to the latest. */
  takeNoMore(): void {
    for (const socket of this.#sockets) existingPipeline(socket)?.takeNoMore();
  }
}
