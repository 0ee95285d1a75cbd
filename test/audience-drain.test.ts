import { once } from 'node:events';
import { afterEach, describe, expect, test } from '@jest/globals';
import Koa from 'koa';
import { Audience, type DrainOptions, EventStream, sse } from '../src/index.js';
import { serve, type TestServer } from './support/server.js';
import { connect } from './support/sse-client.js';

let server: TestServer | undefined;
afterEach(() => server?.close());

/** A stream whose client reads, and when it has ended. */
function openStream(audience: Audience): { text: () => string; ended: Promise<number> } {
  const stream = new EventStream();
  let text = '';
  stream.on('data', (bytes) => {
    text += bytes;
  });
  audience.add(stream);
  return { text: () => text, ended: once(stream, 'end').then(() => performance.now()) };
}

describe('Audience.drain()', () => {
  test('ends streams evenly over a time, also those that join meanwhile', async () => {
    const audience = new Audience();
    const streams = Array.from({ length: 300 }, () => openStream(audience));
    const startedAt = performance.now();
    const drained = audience.drain({ overMs: 600 });
    await streams[0]?.ended;
    streams.push(openStream(audience));
    await drained;
    const times = await Promise.all(streams.map(({ ended }) => ended));
    expect(audience.size).toBe(0);
    const endedAfter = (ms: number) => times.filter((at) => at - startedAt >= ms).length;
    // However busy the machine is: none ends before its share of the time has passed.
    expect(endedAfter(150)).toBeGreaterThanOrEqual(220);
    expect(endedAfter(300)).toBeGreaterThanOrEqual(145);
    expect(endedAfter(450)).toBeGreaterThanOrEqual(70);
  });

  test('tells each client another time to come back after, after all that was sent to it', async () => {
    const audience = new Audience();
    const other = new Audience();
    const streams = Array.from({ length: 50 }, () => openStream(audience));
    for (const stream of audience) other.add(stream);
    other.send({ data: 'x'.repeat(100_000) });
    audience.send({ data: 'last' });
    await audience.drain({ retryMs: [1_000, 5_000] });
    await Promise.all(streams.map(({ ended }) => ended));
    const times = streams.map(({ text }) => {
      const [, ms] = text().match(/x\n\n(?:.*\n)*retry: (\d+)\n\n$/) ?? [];
      expect(text()).toContain('data: last\n\n');
      return Number(ms);
    });
    expect(Math.min(...times)).toBeGreaterThanOrEqual(1_000);
    expect(Math.max(...times)).toBeLessThanOrEqual(5_000);
    expect(new Set(times).size).toBeGreaterThan(40);
  });

  test('sends what comes meanwhile to those that are still there', async () => {
    const audience = new Audience();
    const streams = Array.from({ length: 20 }, () => openStream(audience));
    const drained = audience.drain({ overMs: 100 });
    await streams[0]?.ended;
    audience.send({ data: 'meanwhile' });
    await drained;
    await Promise.all(streams.map(({ ended }) => ended));
    expect(streams[0]?.text()).toBe('');
    expect(streams.at(-1)?.text()).toBe('data: meanwhile\n\n');
  });

  test('ends what joins afterwards with its first events, and returns the same promise again', async () => {
    const audience = new Audience();
    const drained = audience.drain();
    await drained;
    expect(audience.drain({ overMs: 5 })).toBe(drained);
    const late = openStream(audience);
    audience.send({ data: 'first' });
    await late.ended;
    expect(late.text()).toBe('data: first\n\n');
  });

  test.each([
    [{ over: 5 }, /drain\(\) has no option "over". It has: overMs, retryMs\./],
    [{ overMs: -1 }, /overMs is a whole number from 0 to/],
    [{ retryMs: [5, 1] }, /retryMs\[0\] is a whole number from 0 to 1, not 5/],
    [{ retryMs: 5 }, /retryMs is the least and the most milliseconds/],
  ])('refuses %j', (options, message) => {
    expect(() => new Audience().drain(options as unknown as DrainOptions)).toThrow(message);
  });

  test('ends the streams of sse() cleanly', async () => {
    const events = sse();
    const app = new Koa();
    app.use(events).use((ctx) => void ctx.eventStream.comment());
    server = await serve(app);
    const clients = await Promise.all([1, 2, 3].map(() => connect(`${server?.url}/`)));
    await events.streams.drain({ overMs: 50, retryMs: [7, 7] });
    await Promise.all(clients.map((client) => client.ended));
    for (const client of clients) expect(client.bytes().toString()).toBe(':\n\nretry: 7\n\n');
  });
});
