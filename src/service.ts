import { readKeys, type TokenKeys } from './auth/keys.js';
import { createDevelopmentKey } from './auth/sign.js';
import { type Config, localUrl } from './config.js';
import { drain, isClosing, isDraining } from './drain.js';
import { type Feeds, openFeeds } from './feeds/open.js';
import { createApp } from './http/app.js';
import { logStreams } from './http/request-log.js';
import { Hub } from './hub/hub.js';
import type { Journal } from './journal/journal.js';
import { openJournal } from './journal/open.js';
import { openRoster } from './journal/open-roster.js';
import type { Roster } from './journal/roster.js';
import { Limits } from './limits/limits.js';
import { type LeveledLog, type Log, type SummedLog, summed } from './log.js';
import { createAuthorizer } from './mercure/auth.js';
import { SUBSCRIPTIONS_PATH } from './mercure/paths.js';
import { Presence } from './mercure/presence.js';
import { EventLoopWatch } from './ops/event-loop.js';
import { health } from './ops/health.js';
import { createLog, type OperatorLog } from './ops/log.js';
import type { Metrics } from './ops/metrics.js';
import { Readiness } from './ops/readiness.js';
import { scrape } from './ops/scrape.js';
import { listenForOps } from './ops/server.js';
import { createHttpServer, listen } from './server.js';
import { sse } from './sse/middleware.js';

/** Streams that have a line in the log when they close, in 10 seconds; others are summed up. */
const MAX_STREAM_LINES = 1_000;

export interface Service {
  /** Where the service listens, as a URL for a browser on this machine. */
  readonly url: string;
  /** Where the metrics are on a port of their own, if they are. */
  readonly opsUrl: string | undefined;
  /** What the operator should be told about the keys, if anything. */
  readonly notice: string | undefined;
  /** Drains the service: ends every event stream cleanly, and resolves when all connections are closed. */
  stop(): Promise<void>;
}

/**
 * Puts the parts together and listens.
 *
 * @param log where all parts tell what an operator should know.
 * @throws {ConfigError} if it cannot listen where the configuration says, or a key is not valid.
 *   {@link JournalError} if the journal cannot be opened.
 */
export async function startService(
  config: Config,
  log: OperatorLog = createLog(config),
): Promise<Service> {
  const isProduction = config.NODE_ENV === 'production';
  const configured = readKeys(config, { log, maxAgeMs: config.JWKS_MAX_AGE });
  const trial = configured || isProduction ? undefined : await createDevelopmentKey(config);
  const keys = trial ? readKeys({ ...config, ...trial, JWT_ALGORITHMS: undefined }) : configured;
  const journal = await openJournal(config.JOURNAL, {
    sync: config.JOURNAL_SYNC,
    maxUpdates: config.JOURNAL_MAX_UPDATES,
    maxAgeMs: config.JOURNAL_MAX_AGE,
    maxBytes: config.JOURNAL_MAX_BYTES,
    publisherShare: config.JOURNAL_PUBLISHER_SHARE,
    prefix: config.JOURNAL_PREFIX,
    replicas: config.JOURNAL_REPLICAS,
    onNotice: log,
    onDamage: ({ positions, count, total }) => {
      const some = positions.length < count ? ', …' : '';
      const message = `The journal is damaged at ${positions.join(', ')}${some}: ${total} updates so far cannot be read.`;
      log({ level: 'error', event: 'journal-damaged', message, positions, total });
    },
  });
  const feeds = await openFeeds(config.FEEDS, {
    hubJournal: config.JOURNAL,
    sync: config.JOURNAL_SYNC,
    prefix: config.JOURNAL_PREFIX,
    replicas: config.JOURNAL_REPLICAS,
    log,
  });
  const summedLog = summed(log);
  let roster: Roster | undefined;
  try {
    if (config.SUBSCRIPTIONS) {
      roster = await openRoster(config.JOURNAL, {
        prefix: config.JOURNAL_PREFIX,
        timeoutMs: config.SUBSCRIPTIONS_TIMEOUT,
        onNotice: summedLog,
      });
    }
    const served = await serve(config, keys, { journal, roster, feeds, log, summedLog });
    if (keys === undefined) return { ...served, notice: WITHOUT_KEY };
    return { ...served, notice: trial && firstPublish(served.url, trial.token) };
  } catch (error) {
    await roster?.close();
    await feeds.close();
    await journal.close();
    throw error;
  }
}

/** How long a publish may take once its body is there: a journal that is away says so within this time. */
const JOURNAL_ANSWERS_MS = 5_000;

/** How long a body may take to arrive once the service stops: with the journal less than the 10 s of `docker stop`. */
const BODY_ARRIVES_MS = 3_000;

/** What has been opened, and is to be closed when the service stops, or does not start. */
interface Opened {
  readonly journal: Journal;
  /** Without it nobody is told who is subscribed. */
  readonly roster: Roster | undefined;
  readonly feeds: Feeds;
  readonly log: LeveledLog;
  /** Of what clients can cause again and again. */
  readonly summedLog: SummedLog;
}

async function serve(
  config: Config,
  keys: TokenKeys | undefined,
  { journal, roster, feeds, log, summedLog }: Opened,
): Promise<Omit<Service, 'notice'>> {
  const limits = new Limits(config, summedLog);
  const { METRICS_PORT, METRICS_TOKEN } = config;
  const hasMetrics = METRICS_PORT !== undefined || METRICS_TOKEN !== undefined;
  const metrics = hasMetrics ? await loadMetrics() : undefined;
  const hub = await Hub.open(journal, {
    windowMaxBytes: config.WINDOW_MAX_BYTES,
    slowClients: config.SLOW_CLIENTS,
    transientTopics: `${SUBSCRIPTIONS_PATH}/`,
    log: summedLog,
    ...(metrics && { observer: metrics.observer }),
  });
  const streamLog = summed(log, { lines: MAX_STREAM_LINES });
  const presence = roster && announceSubscriptions(hub, roster, summedLog);
  const events = sse({
    heartbeatMs: config.HEARTBEAT_MS,
    maxQueuedBytes: config.MAX_QUEUED_BYTES,
    maxStalledMs: config.SLOW_CLIENT_MAX_AGE,
    onCut: (_, reason) => {
      const message = `A client that does not read is cut off: ${reason}.`;
      summedLog({ level: 'warn', event: `cut-${reason.replaceAll(' ', '-')}`, message });
    },
    onClose: logStreams(streamLog, limits, () => log.writes('info')),
  });
  const eventLoop = new EventLoopWatch();
  const readiness = new Readiness({
    ping: () => journal.ping(),
    isDraining: () => isDraining(server),
    stalledMs: () => eventLoop.stalledMs,
    hasFewDescriptors: () => limits.hasFewDescriptors,
  });
  metrics?.read(
    { hub, journal, events, limits, presence, eventLoop },
    { windowMaxBytes: config.WINDOW_MAX_BYTES, maxQueuedBytes: config.MAX_QUEUED_BYTES },
  );
  const probes = health(readiness);
  const answers = metrics && scrape(metrics, METRICS_TOKEN);
  const app = createApp(config, {
    events,
    feeds,
    hub,
    authorizer: createAuthorizer({
      keys,
      anonymous: config.ANONYMOUS !== false,
      origins: config.CORS_ORIGINS,
    }),
    presence,
    health: probes,
    metrics: metrics && {
      count: metrics.countRequests(),
      ...(METRICS_PORT === undefined && answers && { scrape: answers }),
    },
    limits,
    isClosing: () => isClosing(server),
    log: summedLog,
    requestLog: log,
  });
  const server = createHttpServer(app.callback(), config);
  limits.watch(server);
  const ops =
    answers && METRICS_PORT !== undefined
      ? await listenForOps(
          { port: METRICS_PORT, host: config.HOST },
          { scrape: answers, health: probes },
        )
      : undefined;
  let port: number;
  try {
    port = await listen(server, config);
  } catch (error) {
    await ops?.close();
    throw error;
  }
  if (limits.notice !== undefined) {
    log({ level: 'warn', event: 'connections-limited', message: limits.notice });
  }
  return {
    url: localUrl({ HOST: config.HOST, PORT: port }),
    opsUrl: ops?.url,
    async stop() {
      const { DRAIN_DELAY_MS: delayMs, DRAIN_MS: overMs, DRAIN_RETRY_MS: retryMs } = config;
      await drain(server, {
        answersMs: Math.min(config.BODY_TIMEOUT_MS, BODY_ARRIVES_MS) + JOURNAL_ANSWERS_MS,
        async endStreams() {
          // Where all subscriptions end in one moment, nobody is told of each.
          if (overMs === 0) presence?.close();
          await events.streams.drain({ overMs, retryMs });
          presence?.close();
        },
        delayMs,
      });
      hub.close();
      // At the same time: each may wait for a Redis that does not answer.
      await Promise.all([roster?.close(), feeds.close(), journal.close()]);
      eventLoop.stop();
      await ops?.close();
      summedLog.flush();
      streamLog.flush();
    },
  };
}

/** Publishes who is subscribed, as each update of this kind is published: on whichever node, once. */
function announceSubscriptions(hub: Hub, roster: Roster, log: Log): Presence {
  return new Presence({
    roster,
    publish: (updates, options) => hub.publish(updates, options),
    delivered: (refs) => hub.delivered(refs),
    log,
  });
}

/** Only those who want metrics load what they are made with. */
async function loadMetrics(): Promise<Metrics> {
  const { Metrics } = await import('./ops/metrics.js');
  return new Metrics();
}

const WITHOUT_KEY =
  'No JWT_KEY is set, and in production none is made up: publishing answers 503, all else works.';

/** What makes the first publish work within a minute: it is good for this run only. */
function firstPublish(url: string, token: string): string {
  return [
    'No JWT_KEY is set: tokens are signed with a key made up for this run. Publish with:',
    `  curl -d topic=news -d data=hello -H 'Authorization: Bearer ${token}' ${url}/hub`,
    `and see it arrive with:  curl -N '${url}/hub?topic=news'`,
  ].join('\n');
}
