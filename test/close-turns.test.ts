import { once } from 'node:events';
import type { RequestListener, Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { drain } from '../src/drain.js';
import { createHttpServer } from '../src/server.js';
import type { Service } from '../src/service.js';
import { rawConnect } from './support/raw-client.js';
import { startTestService, testConfig } from './support/server.js';

const CLIENTS = 600;

let server: Server | undefined;
let service: Service | undefined;

afterEach(async () => {
  if (server !== undefined)
    await drain(server, { endStreams: () => server?.closeAllConnections() });
  await service?.stop();
  jest.restoreAllMocks();
  server = undefined;
  service = undefined;
});

async function listen(app: RequestListener): Promise<string> {
  server = createHttpServer(app, testConfig());
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Opens a stream, and resolves with its connection when the first bytes have come. */
async function open(url: string, path = '/'): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port) });
  socket.on('error', () => undefined);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`);
  await once(socket, 'data');
  return socket.resume();
}

describe('when hundreds of clients leave at once', () => {
  test.each([
    { what: 'reset', leave: (socket: Socket) => socket.resetAndDestroy() },
    { what: 'closed', leave: (socket: Socket) => socket.destroy() },
    { what: 'ended', leave: (socket: Socket) => socket.end() },
  ])('their connections, which are $what, close a few in each turn', async ({ leave }) => {
    const url = await listen((_, response) => response.writeHead(200).write('first'));
    const perTurn: number[] = [];
    let inTurn = 0;
    let left = CLIENTS;
    const allClosed = new Promise<void>((resolve) => {
      server?.on('connection', (socket: Socket) => {
        socket.once('close', () => {
          if (inTurn === 0) {
            setImmediate(() => {
              perTurn.push(inTurn);
              inTurn = 0;
            });
          }
          inTurn += 1;
          left -= 1;
          if (left === 0) setImmediate(resolve);
        });
      });
    });
    const sockets = await Promise.all(Array.from({ length: CLIENTS }, () => open(url)));
    for (const socket of sockets) leave(socket);
    await allClosed;
    expect(perTurn.reduce((sum, count) => sum + count)).toBe(CLIENTS);
    // They were all closed in one turn.
    expect(Math.max(...perTurn)).toBeLessThan(CLIENTS / 3);
  });

  test('others are answered, and as many may come again', async () => {
    jest.spyOn(console, 'error').mockImplementation(() => undefined); // It tells of refusals.
    service = await startTestService({ MAX_CONNECTIONS: String(CLIENTS) });
    const { url } = service;
    for (let round = 0; round < 2; round += 1) {
      const sockets = [];
      for (let count = 0; count < CLIENTS; count += 100) {
        const some = Array.from({ length: 100 }, () => open(url, '/hub?topic=a'));
        sockets.push(...(await Promise.all(some)));
      }
      const refused = await fetch(url, { method: 'HEAD', headers: { Connection: 'close' } });
      expect(refused.status).toBe(503);
      for (const socket of sockets) socket.resetAndDestroy();
      let status = 503;
      while (status === 503) {
        const client = await rawConnect(url);
        client.send('HEAD / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n');
        const { text } = await client.closed;
        client.socket.destroy();
        status = Number(text.slice(9, 12));
      }
      expect(status).toBe(200);
    }
  });
});

test('a connection that waits to be closed is not read from', async () => {
  let requests = 0;
  const url = await listen((_, response) => {
    requests += 1;
    response.writeHead(200).write('first');
  });
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, () => open(url)));
  const closed = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  server?.closeAllConnections();
  for (const socket of sockets) socket.write('HEAD / HTTP/1.1\r\nHost: test\r\n\r\n'.repeat(50));
  await Promise.all(closed);
  expect(requests).toBe(CLIENTS);
});
