import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from '@jest/globals';
import { findExecutable } from '../scripts/find-executable.js';
import { readConfig } from '../src/config.js';
import { type Scraped, scrape } from './support/metrics.js';
import { rawConnect } from './support/raw-client.js';
import { startRedis } from './support/redis-server.js';
import { startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const METRICS_TOKEN = 'a token of the tests'.replaceAll(' ', '-');

/** What is let go of after each test, the newest first. */
const opened: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

interface Measured {
  readonly url: string;
  scrape(): Promise<Scraped>;
  /** Scrapes until something is so. */
  until(isSo: (metrics: Scraped) => boolean): Promise<Scraped>;
}

async function start(env: Record<string, string> = {}): Promise<Measured> {
  const service = await startTestService({ METRICS_TOKEN, FEEDS: 'none', ...env });
  opened.push(() => service.stop());
  const read = () => scrape(service.url, METRICS_TOKEN);
  return {
    url: service.url,
    scrape: read,
    async until(isSo) {
      for (;;) {
        const metrics = await read();
        if (isSo(metrics)) return metrics;
      }
    },
  };
}

async function publish(
  url: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
  token?: string,
): Promise<number> {
  const response = await fetch(`${url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token ?? (await tokenFor())}`, ...headers },
    body: new URLSearchParams(fields),
  });
  await response.text();
  return response.status;
}

async function subscribe(url: string, query: string) {
  const client = await connect(`${url}/hub?${query}`);
  opened.push(() => client.abort());
  return client;
}

describe('GET /metrics', () => {
  test('is 404 if nobody has asked for it', async () => {
    const service = await startTestService();
    opened.push(() => service.stop());
    expect((await fetch(`${service.url}/metrics`)).status).toBe(404);
    expect(service.opsUrl).toBeUndefined();
  });

  test('needs METRICS_TOKEN where that is set', async () => {
    const { url } = await start();
    const ask = (authorization?: string) =>
      fetch(`${url}/metrics`, authorization ? { headers: { Authorization: authorization } } : {});
    for (const wrong of [
      undefined,
      'Bearer',
      `Bearer ${METRICS_TOKEN}x`,
      `Basic ${METRICS_TOKEN}`,
    ]) {
      const refused = await ask(wrong);
      expect(refused.status).toBe(401);
      expect(refused.headers.get('www-authenticate')).toMatch(/^Bearer /);
      expect(await refused.text()).not.toContain(METRICS_TOKEN);
    }
    // A token that publishes is none for this.
    expect((await ask(`Bearer ${await tokenFor()}`)).status).toBe(401);
    const answer = await ask(`bearer ${METRICS_TOKEN}`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  test('is on a port of its own with METRICS_PORT, beside the probes, and on no other', async () => {
    const service = await startTestService({ METRICS_PORT: '0' });
    opened.push(() => service.stop());
    const opsUrl = service.opsUrl as string;
    expect((await scrape(opsUrl)).value('sse_hub_connections')).toBeGreaterThanOrEqual(0);
    expect((await fetch(`${service.url}/metrics`)).status).toBe(404);
    expect((await fetch(`${opsUrl}/readyz`)).status).toBe(200);
    expect((await fetch(`${opsUrl}/healthz`)).status).toBe(200);
    expect((await fetch(`${opsUrl}/hub?topic=x`)).status).toBe(404);
    expect((await fetch(`${opsUrl}/metrics`, { method: 'POST' })).status).toBe(405);
  });

  test('needs the token on a port of its own as well, where both are set', async () => {
    const service = await startTestService({ METRICS_PORT: '0', METRICS_TOKEN });
    opened.push(() => service.stop());
    expect((await fetch(`${service.opsUrl}/metrics`)).status).toBe(401);
    await scrape(service.opsUrl as string, METRICS_TOKEN);
    expect((await fetch(`${service.url}/metrics`)).status).toBe(404);
  });

  test('ends the start with a line that names METRICS_PORT where that is in use', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    opened.push(() => taken.close());
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    await expect(startTestService({ METRICS_PORT: String(port) })).rejects.toThrow(
      `METRICS_PORT ${port} is in use`,
    );
  });

  test.each(['too short', ' with a space before it', 'ünicode-of-many-characters'])(
    'has no token that is not fit for a header, and does not print it: %s',
    (token) => {
      const read = () => readConfig({ METRICS_TOKEN: token });
      expect(read).toThrow(/METRICS_TOKEN must have 16 to 1024 characters/);
      expect(read).not.toThrow(token);
    },
  );
});

describe('the metrics', () => {
  test('have the prefix, units in their names, and labels of few values, whoever comes', async () => {
    const { url, scrape } = await start({ SUBSCRIPTIONS: 'true' });
    const round = async (n: number) => {
      const token = await tokenFor({
        publish: ['*'],
        subscribe: ['*'],
        payload: { name: `subject-${n}` },
      });
      await publish(url, { topic: `secret-topic-${n}`, data: 'x', id: `own-id-${n}` }, {}, token);
      const client = await subscribe(url, `topic=secret-topic-${n}&lastEventID=earliest`);
      await client.next();
      await (await fetch(`${url}/secret-path-${n}`, { method: n % 2 ? 'PUT' : 'DELETE' })).text();
    };
    await round(0);
    await round(1);
    await scrape(); // It counts, too, as a request that was answered.
    const before = await scrape();
    for (let n = 2; n < 12; n++) await round(n);
    const after = await scrape();

    // The kinds of garbage collection come as there are any.
    const named = ({ series }: Scraped) => series.filter(({ name }) => !name.includes('_gc_'));
    expect(named(after).length).toBe(named(before).length);
    expect(after.series.length).toBeLessThan(300);
    expect(JSON.stringify(after.series)).not.toMatch(/secret|subject-|own-id|127\.0\.0\.1/);
    for (const [name, type] of after.types) {
      expect(name).toMatch(/^sse_hub_[a-z_\d]+$/);
      // GC's and the CPU's are those of prom-client.
      if (type === 'counter') expect(name).toMatch(/_total$/);
      if (type === 'histogram') expect(name).toMatch(/_(seconds|bytes)$/);
    }
  });

  test('say what was published, delivered and refused', async () => {
    const { url, until } = await start();
    const clients = [
      await subscribe(url, 'topic=t'),
      await subscribe(url, 'topic=t'),
      await subscribe(url, 'topic=other'),
    ];
    expect(await publish(url, { topic: 't', data: 'one', id: 'mine' })).toBe(200);
    expect(await publish(url, { topic: 't', data: 'two' })).toBe(200);
    expect(await publish(url, { topic: 't', data: 'else', id: 'mine' })).toBe(422);
    expect((await fetch(`${url}/hub`, { method: 'POST' })).status).toBe(401);
    for (const client of clients.slice(0, 2)) {
      expect((await client.take(2)).map(({ data }) => data)).toEqual(['one', 'two']);
    }
    const late = await subscribe(url, 'topic=t&lastEventID=earliest');
    await late.take(2);
    const replayed = await until(
      (found) => found.value('sse_hub_catch_up_duration_seconds_count', { cause: 'start' }) === 1,
    );

    const value = replayed.value.bind(replayed);
    expect(value('sse_hub_updates_published_total')).toBe(2);
    expect(value('sse_hub_updates_followed_total')).toBe(2);
    expect(value('sse_hub_updates_refused_total', { reason: 'id_taken' })).toBe(1);
    expect(value('sse_hub_updates_refused_total', { reason: 'journal_unavailable' })).toBe(0);
    expect(value('sse_hub_deliveries_total', { path: 'live' })).toBe(4);
    expect(value('sse_hub_deliveries_total', { path: 'replay' })).toBe(2);
    const length = clients[0]?.bytes().length as number;
    expect(value('sse_hub_delivered_bytes_total', { path: 'live' })).toBeGreaterThan(50);
    // The id that says where the stream has begun is no update.
    expect(value('sse_hub_delivered_bytes_total', { path: 'live' })).toBeLessThan(2 * length);
    expect(value('sse_hub_append_duration_seconds_count')).toBe(2);
    expect(value('sse_hub_publish_to_write_duration_seconds_count')).toBe(2);
    expect(value('sse_hub_publish_to_write_duration_seconds_sum')).toBeGreaterThanOrEqual(
      (value('sse_hub_append_duration_seconds_sum') as number) / 10,
    );
    expect(value('sse_hub_flush_bytes_count')).toBe(2);
    expect(value('sse_hub_flush_bytes_sum')).toBe(
      (value('sse_hub_delivered_bytes_total', { path: 'live' }) as number) / 2,
    );
    expect(value('sse_hub_catch_ups_total', { cause: 'start' })).toBe(1);
    expect(value('sse_hub_subscriptions', { state: 'live' })).toBe(4);
    expect(value('sse_hub_subscriptions', { state: 'catching_up' })).toBe(0);
    expect(value('sse_hub_streams')).toBe(4);
    expect(value('sse_hub_connections', { state: 'streaming' })).toBe(4);
    expect(value('sse_hub_connections_accepted_total')).toBeGreaterThan(4);
    expect(value('sse_hub_requests_total', { method: 'POST', status: '200' })).toBe(2);
    expect(value('sse_hub_requests_total', { method: 'POST', status: '401' })).toBe(1);
    expect(value('sse_hub_window_updates')).toBe(2);
    expect(value('sse_hub_window_bytes')).toBeGreaterThan(700);
    expect(value('sse_hub_window_age_seconds')).toBeLessThan(60);

    for (const client of clients) client.abort();
    late.abort();
    const left = await until((found) => found.value('sse_hub_streams') === 0);
    expect(left.value('sse_hub_subscriptions')).toBe(0);
  });

  test('say who was refused for a limit, and what connections there may be', async () => {
    const { url, until } = await start({
      TRUST_PROXY: '1',
      RATE_STREAMS: '2/h',
      MAX_CONNECTIONS: '77',
    });
    const open = () =>
      fetch(`${url}/hub?topic=t`, { headers: { 'X-Forwarded-For': '203.0.113.7' } });
    for (const status of [200, 200, 429, 429]) {
      const response = await open();
      expect(response.status).toBe(status);
      await response.body?.cancel();
    }
    const found = await until((metrics) => metrics.value('sse_hub_streams') === 0);
    expect(found.value('sse_hub_refused_total', { reason: 'rate_streams' })).toBe(2);
    expect(found.value('sse_hub_refused_total', { reason: 'max_connections' })).toBe(0);
    expect(found.value('sse_hub_connections_limit')).toBe(77);
    expect(found.value('sse_hub_requests_total', { status: '429' })).toBe(2);
  });

  test('say who does not read, what is queued, and who was told of a gap', async () => {
    const { url, until } = await start({ JOURNAL_MAX_UPDATES: '3', WINDOW_MAX_BYTES: '0' });
    const stalled = await rawConnect(url);
    opened.push(() => stalled.socket.destroy());
    await stalled.send('GET /hub?topic=t HTTP/1.1\r\nHost: x\r\n\r\n').received(/\nid: /);
    stalled.socket.pause();
    const data = 'x'.repeat(500_000);
    let found = await until(() => true);
    for (let n = 0; n < 100 && !found.value('sse_hub_slow_clients_total'); n++) {
      expect(await publish(url, { topic: 't', data })).toBe(200);
      found = await until(() => true);
    }
    found = await until(
      (metrics) => metrics.value('sse_hub_catch_ups', { state: 'stalled' }) === 1,
    );
    expect(found.value('sse_hub_slow_clients_total')).toBe(1);
    expect(found.value('sse_hub_stalled_clients')).toBe(1);
    expect(found.value('sse_hub_queued_bytes')).toBeGreaterThan(500_000);
    expect(found.value('sse_hub_catch_ups_total', { cause: 'slow' })).toBe(1);
    expect(found.value('sse_hub_subscriptions', { state: 'catching_up' })).toBe(1);

    const unknown = await subscribe(url, 'topic=t&lastEventID=nobody-knows-it');
    expect((await unknown.next()).event).toBe('gap');
    expect((await until(() => true)).value('sse_hub_gaps_total', { reason: 'unknown' })).toBe(1);
    // What it has missed is trimmed meanwhile.
    for (let n = 0; n < 4; n++) expect(await publish(url, { topic: 't', data: 'x' })).toBe(200);
    stalled.socket.resume();
    found = await until(
      (metrics) => metrics.value('sse_hub_gaps_total', { reason: 'trimmed' }) === 1,
    );
    await until((metrics) => metrics.value('sse_hub_subscriptions', { state: 'live' }) === 2);
  });

  test('say what presence lists', async () => {
    const { url, until } = await start({ SUBSCRIPTIONS: 'true' });
    await subscribe(url, 'topic=t');
    await until(
      (found) =>
        found.value('sse_hub_presence_subscribers') === 1 &&
        found.value('sse_hub_presence_waiting') === 0,
    );
  });

  test.each(['memory:', 'lmdb:', 'redis:'])('say what the journal holds: %s', async (kind) => {
    let JOURNAL = kind;
    if (kind === 'lmdb:') {
      const directory = await mkdtemp(join(tmpdir(), 'metrics-'));
      opened.push(() => rm(directory, { recursive: true, force: true }));
      JOURNAL = `lmdb:${directory}`;
    }
    const redis = kind === 'redis:' ? await startRedis({ persistence: 'none' }) : undefined;
    if (redis) {
      opened.push(() => redis.close());
      JOURNAL = redis.url;
    }
    const { url, scrape, until } = await start({ JOURNAL, JOURNAL_SYNC: 'os' });
    const before = await scrape();
    expect(before.value('sse_hub_journal_up')).toBe(1);
    expect(before.value('sse_hub_journal_updates')).toBe(0);
    expect(before.value('sse_hub_journal_age_seconds')).toBe(0);
    for (let n = 0; n < 3; n++) await publish(url, { topic: 't', data: 'x'.repeat(1_000) });
    const found = await until(
      (metrics) => Number(metrics.value('sse_hub_journal_age_seconds')) > 0,
    );
    expect(found.value('sse_hub_journal_updates')).toBe(3);
    expect(found.value('sse_hub_journal_bytes')).toBeGreaterThan(3_000);
    expect(found.value('sse_hub_journal_bytes')).toBeLessThan(6_000);
    expect(found.value('sse_hub_journal_age_seconds')).toBeLessThan(60);

    if (redis === undefined) return;
    expect(found.value('sse_hub_redis_retries_total')).toBe(0);
    await redis.kill();
    const away = await until((metrics) => metrics.value('sse_hub_journal_up') === 0);
    // What is not known is not told.
    expect(away.value('sse_hub_journal_updates')).toBeUndefined();
    expect(await publish(url, { topic: 't', data: 'x' })).toBe(503);
    await redis.start();
    const back = await until((metrics) => metrics.value('sse_hub_journal_up') === 1);
    expect(back.value('sse_hub_redis_retries_total')).toBeGreaterThan(0);
    expect(
      Number(back.value('sse_hub_updates_refused_total', { reason: 'journal_unavailable' })) +
        Number(back.value('sse_hub_updates_refused_total', { reason: 'journal_outcome_unknown' })),
    ).toBe(1);
  });

  test('say how late the event loop is, and what the process takes', async () => {
    const { scrape } = await start();
    const found = await scrape();
    for (const name of [
      'nodejs_eventloop_lag_p99_seconds',
      'process_cpu_seconds_total',
      'process_resident_memory_bytes',
      'nodejs_heap_size_used_bytes',
    ]) {
      expect(found.value(`sse_hub_${name}`)).toBeGreaterThanOrEqual(0);
    }
    expect(found.value('sse_hub_event_loop_stalls_total')).toBeDefined();
    if (process.platform === 'linux') {
      expect(found.value('sse_hub_process_open_fds')).toBeGreaterThan(5);
    }
  });

  const promtool = findExecutable(['promtool']);
  (promtool ? test : test.skip)('are what promtool finds nothing wrong with', async () => {
    const { url } = await start({ SUBSCRIPTIONS: 'true' });
    const answer = await fetch(`${url}/metrics`, {
      headers: { Authorization: `Bearer ${METRICS_TOKEN}` },
    });
    const child = spawn(promtool as string, ['check', 'metrics'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    child.stdin.end(await answer.text());
    const [printed] = await Promise.all([text(child.stderr), once(child, 'close')]);
    // Those of prom-client itself have names that it is not content with.
    const ours = printed.split('\n').filter((line) => !/^(sse_hub_nodejs_|$)/.test(line));
    expect(ours).toEqual([]);
  });
});
