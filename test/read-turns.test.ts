import { once } from 'node:events';
import type { RequestListener, Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import { afterEach, expect, test } from '@jest/globals';
import { drain } from '../src/drain.js';
import { readInTurns } from '../src/requests/read-turns.js';
import { createHttpServer } from '../src/server.js';
import { testConfig } from './support/server.js';

const CLIENTS = 40;
const BODY_BYTES = 1024 * 1024;

let server: Server | undefined;

afterEach(async () => {
  if (server !== undefined) await drain(server, { endStreams: () => undefined });
});

async function listen(app: RequestListener): Promise<number> {
  server = createHttpServer(app, testConfig());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Sends a body once `begun` has resolved, and resolves with the answer. */
async function post(port: number, length: number, begun?: Promise<void>): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.write(`POST / HTTP/1.1\r\nHost: test\r\nContent-Length: ${length}\r\n\r\n`);
  await begun;
  socket.write(Buffer.alloc(length));
  const [answer] = await once(socket, 'data');
  socket.destroy();
  return String(answer);
}

/** Takes a millisecond, as what is done with a piece may. */
function work(): void {
  const end = performance.now() + 1;
  while (performance.now() < end);
}

test('long bodies that come at once are read whole, some pieces of them in each turn', async () => {
  const perTurn: number[] = [];
  let inTurn = 0;
  let requests = 0;
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const port = await listen((request, response) => {
    let bytes = 0;
    request.on('data', (piece: Buffer) => {
      work();
      bytes += piece.length;
      if (inTurn === 0) {
        setImmediate(() => {
          perTurn.push(inTurn);
          inTurn = 0;
        });
      }
      inTurn += 1;
    });
    request.on('end', () => response.end(String(bytes)));
    readInTurns(request);
    requests += 1;
    if (requests === CLIENTS) begin();
  });
  const posts = Array.from({ length: CLIENTS }, () => post(port, BODY_BYTES, begun));
  const answers = await Promise.all(posts);
  for (const answer of answers) expect(answer).toContain(`\r\n\r\n${BODY_BYTES}`);
  // The first piece of each, and what there is time for. All pieces together are 640 at least.
  expect(Math.max(...perTurn)).toBeLessThan(3 * CLIENTS);
});

test('a short body is read at once, while long ones wait', async () => {
  let longs = 0;
  let isShortRead = false;
  const port = await listen((request, response) => {
    const isShort = request.headers['content-length'] === '10';
    request.on('data', work).on('end', () => {
      if (isShort) isShortRead = true;
      else if (!isShortRead) longs += 1;
      response.end();
    });
    readInTurns(request);
  });
  const long = Array.from({ length: CLIENTS }, () => post(port, BODY_BYTES));
  const short = post(port, 10);
  await short;
  expect(longs).toBeLessThan(CLIENTS / 2);
  await Promise.all(long);
});
