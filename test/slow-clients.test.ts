import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { Service } from '../src/service.js';
import { Backlog, type CutReason } from '../src/sse/backlog.js';
import { EventStream } from '../src/sse/event-stream.js';
import { startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const services: Service[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(services.splice(0).map((service) => service.stop()));
});

async function start(env: Record<string, string> = {}): Promise<Service> {
  const service = await startTestService({ WINDOW_MAX_BYTES: '0', ...env });
  services.push(service);
  return service;
}

/** A client that asks for a stream and reads nothing of it, not even the head. */
async function neverReads(service: Service, path: string): Promise<Socket> {
  const { hostname, port } = new URL(service.url);
  const socket = connectSocket({ host: hostname, port: Number(port) });
  sockets.push(socket);
  socket.pause();
  await once(socket, 'connect');
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
  return socket;
}

async function publish(service: Service, topic: string, data: string): Promise<void> {
  const response = await fetch(`${service.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${await tokenFor()}` },
    body: new URLSearchParams({ topic, data }),
  });
  expect(response.status).toBe(200);
}

function queuedBytes(): number {
  return process.memoryUsage().arrayBuffers;
}

/** Resolves when nothing more is queued or let go of for some turns of the event loop. */
async function still(): Promise<void> {
  for (let turns = 0, last = -1; turns < 50; turns += 1) {
    if (queuedBytes() !== last) turns = 0;
    last = queuedBytes();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const MEGABYTES = 2 ** 20;

describe('clients that do not read', () => {
  test('each with a selection of its own, share what they are sent', async () => {
    const service = await start();
    await Promise.all(
      Array.from({ length: 200 }, (_, n) => neverReads(service, `/hub?topic=big&topic=u${n}`)),
    );
    const reader = await connect(`${service.url}/hub?topic=big`);
    const before = queuedBytes();
    const data = 'x'.repeat(900_000);
    const published = Promise.all(Array.from({ length: 12 }, () => publish(service, 'big', data)));
    const others = Date.now();
    await fetch(service.url, { method: 'HEAD' });
    expect(Date.now() - others).toBeLessThan(2_000);
    await published;
    for (let n = 0; n < 12; n += 1) expect((await reader.next()).data).toHaveLength(900_000);
    await still();
    // A copy for each of them was 2 GB.
    expect(queuedBytes() - before).toBeLessThan(150 * MEGABYTES);
    reader.abort();
  });

  test('replay large updates from the same bytes', async () => {
    const service = await start();
    for (let n = 0; n < 5; n += 1) await publish(service, 'big', `${n}${'x'.repeat(900_000)}`);
    const before = queuedBytes();
    await Promise.all(
      Array.from({ length: 200 }, () => neverReads(service, '/hub?topic=big&lastEventID=earliest')),
    );
    await still();
    expect(queuedBytes() - before).toBeLessThan(100 * MEGABYTES);
  });

  test('are cut off after SLOW_CLIENT_MAX_AGE, and others are not', async () => {
    const service = await start({ SLOW_CLIENT_MAX_AGE: '200ms', HEARTBEAT_MS: '20' });
    const socket = await neverReads(service, '/hub?topic=big');
    const reader = await connect(`${service.url}/hub?topic=big`);
    const data = 'x'.repeat(900_000);
    // More than the system's buffers hold.
    for (let n = 0; n < 12; n += 1) await publish(service, 'big', data);
    const closed = once(socket, 'close');
    await reader.take(12);
    await new Promise((resolve) => setTimeout(resolve, 600));
    socket.on('error', () => undefined).resume(); // It notices when it reads.
    await closed;
    expect(socket.bytesRead).toBeLessThan(12 * 900_000);
    await publish(service, 'big', 'still there');
    expect((await reader.next()).data).toBe('still there');
    reader.abort();
  });
});

describe('Backlog', () => {
  const cut: [EventStream, CutReason][] = [];
  const backlogOf = (maxBytes: number, maxAgeMs = 0) => {
    cut.length = 0;
    return new Backlog({
      maxBytes,
      maxAgeMs,
      onCut: (stream, reason) => {
        cut.push([stream, reason]);
      },
    });
  };

  test('counts bytes that several clients share once, and lets go of them with the last', () => {
    const backlog = backlogOf(0);
    const shared = Buffer.alloc(1_000_000);
    const streams = Array.from({ length: 10 }, () => new EventStream());
    for (const stream of streams) backlog.add(stream, shared);
    expect(backlog.bytes).toBe(1_000_000 + 10 * 16 * 1024);
    for (const stream of streams.slice(1)) backlog.delete(stream);
    expect(backlog.bytes).toBe(1_000_000 + 16 * 1024);
    backlog.delete(streams[0] as EventStream);
    backlog.delete(streams[0] as EventStream);
    expect(backlog).toMatchObject({ size: 0, bytes: 0 });
  });

  test('cuts off those that have not read for the longest time when it is full', () => {
    const backlog = backlogOf(2_500_000);
    const streams = Array.from({ length: 4 }, () => new EventStream());
    for (const stream of streams) backlog.add(stream, Buffer.alloc(1_000_000));
    expect(cut).toEqual([
      [streams[0], 'too much queued'],
      [streams[1], 'too much queued'],
    ]);
    expect(streams.map(({ destroyed }) => destroyed)).toEqual([true, true, false, false]);
    expect(backlog.bytes).toBeLessThanOrEqual(2_500_000);
  });

  test('cuts off a client that has read nothing for too long', async () => {
    const backlog = backlogOf(0, 10);
    const stream = new EventStream();
    backlog.add(stream, Buffer.alloc(10));
    await once(stream, 'close');
    expect(cut).toEqual([[stream, 'too long']]);
    expect(backlog.size).toBe(0);
  });
});
