import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readKeys, type TokenKeys } from './auth/keys.js';
import { createDevelopmentKey } from './auth/sign.js';
import { type Config, ConfigError, localUrl } from './config.js';
import { type Feeds, openFeeds } from './feeds/open.js';
import { createApp } from './http/app.js';
import { createAuthorizer } from './http/auth.js';
import { Hub } from './hub/hub.js';
import { HUB_PATH } from './hub/path.js';
import { Presence } from './hub/presence.js';
import type { Journal } from './journal/journal.js';
import { openJournal } from './journal/open.js';
import { sse } from './sse/middleware.js';

/** How long clients have to take their last bytes before their connections are cut. */
const STOP_MS = 1_000;

/**
 * How many connections the system holds until they are accepted (it may allow fewer): when a server comes back,
 * all clients do at once, and one that is turned away tries again seconds later. Node's own default is 511.
 */
const LISTEN_BACKLOG = 8_192;

export interface Service {
  /** Where the service listens, as a URL for a browser on this machine. */
  readonly url: string;
  /** What the operator should be told about the keys, if anything. */
  readonly notice: string | undefined;
  /** Stops accepting, ends every event stream cleanly and resolves when all connections are closed. */
  stop(): Promise<void>;
}

/**
 * Puts the parts together and listens.
 *
 * @throws {ConfigError} if it cannot listen where the configuration says, or a key is not valid.
 *   {@link JournalError} if the journal cannot be opened.
 */
export async function startService(config: Config): Promise<Service> {
  const isProduction = config.NODE_ENV === 'production';
  const configured = readKeys(config, { warn: log });
  const trial = configured || isProduction ? undefined : await createDevelopmentKey();
  const keys = trial ? readKeys(trial) : configured;
  const journal = await openJournal(config.JOURNAL, {
    sync: config.JOURNAL_SYNC,
    maxUpdates: config.JOURNAL_MAX_UPDATES,
    maxAgeMs: config.JOURNAL_MAX_AGE,
    maxBytes: config.JOURNAL_MAX_BYTES,
    publisherShare: config.JOURNAL_PUBLISHER_SHARE,
  });
  const feeds = await openFeeds(config.FEEDS, {
    hubJournal: config.JOURNAL,
    sync: config.JOURNAL_SYNC,
    log,
  });
  try {
    const { url, stop } = await serve(config, keys, journal, feeds);
    if (keys === undefined) return { url, stop, notice: WITHOUT_KEY };
    return { url, stop, notice: trial && firstPublish(url, trial.token) };
  } catch (error) {
    await feeds.close();
    await journal.close();
    throw error;
  }
}

async function serve(
  config: Config,
  keys: TokenKeys | undefined,
  journal: Journal,
  feeds: Feeds,
): Promise<Omit<Service, 'notice'>> {
  const hub = await Hub.open(journal, {
    windowMaxBytes: config.WINDOW_MAX_BYTES,
    slowClients: config.SLOW_CLIENTS,
    transientTopics: `${HUB_PATH}/subscriptions/`,
    log,
  });
  const presence = config.SUBSCRIPTIONS
    ? new Presence(`${HUB_PATH}/subscriptions`, async (updates) => {
        await hub.publish(updates).catch((error: unknown) => {
          log('Subscriptions cannot be announced.', error);
        });
      })
    : undefined;
  const events = sse({
    heartbeatMs: config.HEARTBEAT_MS,
    maxQueuedBytes: config.MAX_QUEUED_BYTES,
    maxStalledMs: config.SLOW_CLIENT_MAX_AGE,
  });
  const app = createApp(config, {
    events,
    feeds,
    hub,
    authorizer: createAuthorizer({
      keys,
      anonymous: config.ANONYMOUS,
      origins: config.CORS_ORIGINS,
    }),
    presence,
  });
  const server = createServer(app.callback());
  await listen(server, config);

  const { port } = server.address() as AddressInfo;
  return {
    url: localUrl({ HOST: config.HOST, PORT: port }),
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Who is still answered is told not to use this connection again.
      server.prependListener('request', (_, response) => response.setHeader('Connection', 'close'));
      events.streams.end();
      // An ended stream leaves its connection idle for the next request, which must not come here.
      const idle = setInterval(() => server.closeIdleConnections(), 20);
      const cut = setTimeout(() => server.closeAllConnections(), STOP_MS);
      await closed;
      clearInterval(idle);
      clearTimeout(cut);
      hub.close();
      await feeds.close();
      await journal.close();
    },
  };
}

/** What an operator should know, one line each, on standard error. Names of clients are theirs to choose. */
function log(message: string, error?: unknown): void {
  const line = error === undefined ? message : `${message} ${String(error)}`;
  console.error(line.replace(/\p{Cc}/gu, (control) => JSON.stringify(control).slice(1, -1)));
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

function listen(server: Server, config: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new ConfigError(refusal(error, config))));
    server.listen({ port: config.PORT, host: config.HOST, backlog: LISTEN_BACKLOG }, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
}

/** Why listening failed, with the setting to look at. */
function refusal({ code, message }: NodeJS.ErrnoException, { PORT, HOST }: Config): string {
  switch (code) {
    case 'EADDRINUSE':
      return `PORT ${PORT} is in use: stop what listens there, or set PORT to another.`;
    case 'EACCES':
      return `PORT ${PORT} needs a privilege that this user does not have: set PORT to one above 1023.`;
    default:
      return `HOST ${JSON.stringify(HOST)} is no address to listen on here (${code ?? message}).`;
  }
}
