import type { Middleware } from 'koa';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Hub, HubObserver } from '../hub/hub.js';
import type { Journal, JournalSize } from '../journal/journal.js';
import type { Limits } from '../limits/limits.js';
import type { Presence } from '../mercure/presence.js';
import type { SseMiddleware } from '../sse/middleware.js';
import type { EventLoopWatch } from './event-loop.js';

/** What is read at each scrape. */
export interface MeasuredParts {
  readonly hub: Hub;
  readonly journal: Journal;
  readonly events: SseMiddleware;
  readonly limits: Limits;
  readonly presence: Presence | undefined;
  readonly eventLoop: EventLoopWatch;
}

/** Bytes that the window may hold and clients may have queued, beside which it is shown what they do. */
export interface MeasuredLimits {
  readonly windowMaxBytes: number;
  readonly maxQueuedBytes: number;
}

const PREFIX = 'sse_hub_';

/** Of a journal that is away, the other metrics do not wait longer. */
const MAX_WAIT_MS = 2_000;

/** In seconds: of what waits for a disk, a network and a turn of the event loop. */
const LATENCIES = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** In seconds: of clients that read what they have missed. */
const CATCH_UPS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300];
/** In bytes. */
const FLUSHES = [128, 512, 2_048, 8_192, 32_768, 131_072, 524_288, 2_097_152];

/** Methods that clients use. Others are one: anybody may send any. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'OPTIONS']);

/**
 * Handles and requests of the process: to count them means to walk over all, ten thousand connections among them, and the
 * connections are counted already.
 */
const COSTLY = ['handles', 'requests', 'resources'].flatMap((name) => [
  `${PREFIX}nodejs_active_${name}`,
  `${PREFIX}nodejs_active_${name}_total`,
]);

type Label = Readonly<Record<string, string>>;
/** The values of a metric, each with its labels. */
type Values = Iterable<readonly [Label, number]>;

/**
 * All metrics of a process, for Prometheus. Parts count for themselves, and are asked at each scrape; only distributions
 * are told as they come, by {@link observer}. No label names a topic, an id, an address or a subject: each has few values.
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'route' | 'method' | 'status'>;
  /** What the hub tells. */
  readonly observer: HubObserver;
  #scraping: Promise<string> | undefined;

  constructor() {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry, prefix: PREFIX });
    for (const name of COSTLY) this.#registry.removeSingleMetric(name);

    this.#requests = new Counter({
      name: `${PREFIX}requests_total`,
      help: 'Requests that were answered, by the pattern of their path. Event streams count when they begin.',
      labelNames: ['route', 'method', 'status'],
      registers,
    });
    const append = new Histogram({
      name: `${PREFIX}append_duration_seconds`,
      help: 'From a call that publishes until its updates are durable.',
      buckets: LATENCIES,
      registers,
    });
    const written = new Histogram({
      name: `${PREFIX}publish_to_write_duration_seconds`,
      help: 'From a call that publishes an update here until it is written to all live clients here. Of samples: one update at a time.',
      buckets: LATENCIES,
      registers,
    });
    const flush = new Histogram({
      name: `${PREFIX}flush_bytes`,
      help: 'Bytes written at once to each live client of one selection.',
      buckets: FLUSHES,
      registers,
    });
    const catchUp = new Histogram({
      name: `${PREFIX}catch_up_duration_seconds`,
      help: 'From when a client began to catch up until it was live: with its last id (start), after it did not read (slow), after the place in the journal was lost (lost).',
      labelNames: ['cause'],
      buckets: CATCH_UPS,
      registers,
    });
    this.observer = {
      appended: (ms) => append.observe(ms / 1_000),
      written: (ms) => written.observe(ms / 1_000),
      flushed: (bytes) => flush.observe(bytes),
      caughtUp: (cause, ms) => catchUp.observe({ cause }, ms / 1_000),
    };
  }

  /** Counts what is answered. Stands above everything that answers. */
  countRequests(): Middleware {
    const requests = this.#requests;
    return async function countRequests(ctx, next) {
      await next();
      const { _matchedRoute: route } = ctx as { _matchedRoute?: unknown };
      requests.inc({
        route: typeof route === 'string' ? route : 'none',
        method: METHODS.has(ctx.method) ? ctx.method : 'other',
        status: String(ctx.status),
      });
    };
  }

  /** Adds what is asked of the parts at each scrape. To be called once. */
  read(parts: MeasuredParts, { windowMaxBytes, maxQueuedBytes }: MeasuredLimits): void {
    const { hub, journal, events, limits, presence, eventLoop } = parts;
    const { connections } = limits;
    const gauge = this.#gauge.bind(this);
    const counter = this.#counter.bind(this);
    // One look for all metrics of a scrape.
    let of = hub.statistics;
    gauge('subscriptions', 'Subscriptions of the hub: live ones, and those that catch up.', () => {
      of = hub.statistics;
      const { subscriptions, notLive } = of;
      return by('state', { live: subscriptions - notLive, catching_up: notLive });
    });

    gauge('connections', 'Open connections: those with an event stream, and others.', () => {
      const streaming = Math.min(events.streams.size, connections.counts.open);
      return by('state', { streaming, other: connections.counts.open - streaming });
    });
    gauge('connections_limit', 'How many connections there may be.', () => connections.max);
    gauge(
      'streams',
      'Open event streams, those of the built-in feeds among them.',
      () => events.streams.size,
    );
    counter('connections_accepted_total', 'Connections accepted.', () => connections.accepted);
    counter(
      'refused_total',
      'Requests and connections refused, by the limit that was met. Connections that are closed without an answer count as dropped.',
      () => by('reason', { dropped: connections.dropped, ...limits.refused }),
    );

    counter(
      'updates_published_total',
      'Updates published here, repeats among them.',
      () => of.published,
    );
    counter('updates_refused_total', 'Calls that publish, refused or failed by the journal.', () =>
      by(
        'reason',
        named(of.refused, (code) => code.slice('ERR_'.length).toLowerCase()),
      ),
    );
    counter(
      'updates_followed_total',
      'Updates delivered here, whichever node they were published at.',
      () => of.followed,
    );
    gauge(
      'updates_undelivered',
      'Updates that are in the journal and wait here to be delivered.',
      () => of.undelivered,
    );
    counter(
      'updates_unsendable_total',
      'How often an update was left out because no frame can carry it.',
      () => of.skipped,
    );
    counter('deliveries_total', 'Updates written to clients, each counted for each client.', () =>
      by('path', { live: of.live.deliveries, replay: of.replayed.deliveries }),
    );
    counter('delivered_bytes_total', 'Bytes of these.', () =>
      by('path', { live: of.live.bytes, replay: of.replayed.bytes }),
    );

    counter('catch_ups_total', 'How often a client began to catch up.', () =>
      by('cause', of.caughtUp),
    );
    gauge(
      'catch_ups',
      'Clients that catch up: those that are read for, that wait for their turn, and that do not read.',
      () => {
        const reading = of.catchUps - of.waiting;
        return by('state', {
          reading,
          waiting: of.waiting,
          stalled: Math.max(of.notLive - of.catchUps, 0),
        });
      },
    );
    counter('gaps_total', 'How often a client was told that it has missed updates.', () =>
      by('reason', of.gaps),
    );
    counter('slow_clients_total', 'How often a live client was found not to read.', () => of.slow);
    gauge('stalled_clients', 'Clients that do not read at the moment.', () => events.backlog.size);
    gauge('queued_bytes', 'Bytes queued for clients that do not read.', () => events.backlog.bytes);
    gauge('queued_bytes_limit', 'How many these may be; 0 for any number.', () => maxQueuedBytes);
    counter('clients_cut_total', 'Clients that did not read and were cut off.', () =>
      by(
        'reason',
        named(events.backlog.cut, (reason) => reason.replaceAll(' ', '_')),
      ),
    );

    gauge('window_updates', 'Updates held in memory.', () => of.window.updates);
    gauge('window_bytes', 'Bytes of these.', () => of.window.bytes);
    gauge('window_bytes_limit', 'How many these may be.', () => windowMaxBytes);
    gauge(
      'window_age_seconds',
      'Age of the oldest of these; 0 without any.',
      () => of.window.oldestAgeSeconds ?? 0,
    );

    if (journal.measure) this.#readJournal(() => measured(journal));
    if (presence) {
      gauge(
        'presence_subscribers',
        'Open streams that presence lists, or is about to.',
        () => presence.statistics.subscribers,
      );
      gauge(
        'presence_waiting',
        'Starts and ends that wait to be announced.',
        () => presence.statistics.waiting,
      );
    }
    counter(
      'event_loop_stalls_total',
      'How often the event loop was stalled for a second or more.',
      () => eventLoop.stalls,
    );
  }

  /** What Prometheus reads. Those who ask at the same time share it. */
  scrape(): Promise<string> {
    this.#scraping ??= this.#registry.metrics().finally(() => {
      this.#scraping = undefined;
    });
    return this.#scraping;
  }

  /** The media type of {@link scrape}. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  #readJournal(measure: () => Promise<JournalSize | undefined>): void {
    // Metrics of one scrape are collected side by side: the journal is asked once for them.
    let asked: Promise<JournalSize | undefined> | undefined;
    const size = () => {
      asked ??= measure().finally(() => {
        asked = undefined;
      });
      return asked;
    };
    const gauge = this.#gauge.bind(this);
    gauge('journal_up', 'Whether the journal can be read.', async () => ((await size()) ? 1 : 0));
    gauge(
      'journal_updates',
      'Updates that the journal holds.',
      async () => (await size())?.updates,
    );
    gauge(
      'journal_bytes',
      'Bytes of these, as JOURNAL_MAX_BYTES counts them.',
      async () => (await size())?.bytes,
    );
    gauge('journal_age_seconds', 'Age of the oldest of these; 0 without any.', async () => {
      const found = await size();
      return found && (found.oldestAgeMs ?? 0) / 1_000;
    });
    let retries = 0;
    this.#counter(
      'redis_retries_total',
      'How often this process has tried to reach Redis again.',
      async () => {
        retries = (await size())?.retries ?? retries;
        return retries;
      },
    );
  }

  #gauge(name: string, help: string, read: () => Reading | Promise<Reading>): void {
    new Gauge({
      name: PREFIX + name,
      help,
      labelNames: LABELS,
      registers: [this.#registry],
      async collect() {
        const values = await read();
        this.reset();
        for (const [labels, value] of toValues(values ?? [])) this.set(labels, value);
      },
    });
  }

  /** A counter of somebody else's, who never takes anything back. */
  #counter(name: string, help: string, read: () => Reading | Promise<Reading>): void {
    new Counter({
      name: PREFIX + name,
      help,
      labelNames: LABELS,
      registers: [this.#registry],
      async collect() {
        const values = await read();
        this.reset();
        for (const [labels, value] of toValues(values ?? [])) this.inc(labels, value);
      },
    });
  }
}

/** A number without labels, some with them, or nothing that is known. */
type Reading = number | Values | undefined;

/** All labels that are used with {@link by}. */
const LABELS = ['state', 'reason', 'path', 'cause'];

function toValues(values: number | Values): Values {
  return typeof values === 'number' ? [[{}, values]] : values;
}

/** A value for each value of a label. */
function by(label: string, values: Readonly<Record<string, number>>): Values {
  return Object.entries(values).map(([name, value]) => [{ [label]: name }, value] as const);
}

/** The same values under other names. */
function named(
  values: Readonly<Record<string, number>>,
  rename: (name: string) => string,
): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [rename(name), value]));
}

/** What a journal holds; undefined if it does not say so in time. */
async function measured(journal: Journal): Promise<JournalSize | undefined> {
  let timeout: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timeout = setTimeout(() => resolve(undefined), MAX_WAIT_MS);
  });
  try {
    return await Promise.race([journal.measure?.(), late]);
  } catch {
    return undefined; // That it is away is a metric, too.
  } finally {
    clearTimeout(timeout);
  }
}
