import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Passes connections on to nodes in turn, those that are not taken out. What one end does, the other is told. */
export interface SwitchProxy {
  readonly port: number;
  /** From now on new connections go to these ports alone. */
  use(ports: readonly number[]): void;
  close(): void;
}

/** A balancer that is told which nodes there are, as those are that look at the readiness of nodes. */
export async function startSwitchProxy(first: readonly number[]): Promise<SwitchProxy> {
  let ports = first;
  let turn = 0;
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    turn += 1;
    const target = connect({
      port: ports[turn % ports.length] as number,
      host: '127.0.0.1',
      allowHalfOpen: true,
    });
    client.pipe(target);
    target.pipe(client);
    for (const [socket, other] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => other.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 });
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    use(others) {
      ports = others;
    },
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
