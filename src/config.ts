import { z } from 'zod';
import { ConfigError } from './config-error.js';
import { parseDuration } from './duration.js';
import { FEED_NAMES, type FeedName } from './feeds/names.js';
import { DEFAULT_PREFIX, isRedis } from './journal/redis/url.js';
import { MAX_PROXIES, parseTrustProxy, type TrustProxy } from './limits/client-address.js';
import { parseRate } from './limits/rate.js';
import { ANONYMOUS_RESTRICTIONS, type AnonymousRestriction } from './mercure/restrictions.js';
import { withSecretFiles } from './secret-files.js';

export { ConfigError } from './config-error.js';

export type Config = Readonly<z.infer<typeof schema>>;

const schema = z.object({
  /** Where to listen. Port 0 takes a free one; without a host, all interfaces. */
  PORT: wholeNumber(0, 65_535).default(3000),
  HOST: z.string().optional(),
  /** `*`, or the origins (scheme, host, port) whose pages may read from here with credentials. */
  CORS_ORIGINS: z.string().default('*').transform(parseOrigins),
  /** Milliseconds between heartbeat comments on an event stream; 0 for none. */
  HEARTBEAT_MS: wholeNumber(0, 2 ** 31 - 1).default(15_000),
  /**
   * The largest request body, in bytes. A body of line breaks becomes a frame of seven times its size, and the
   * work on it grows alike, so the maximum is far below the 512 MiB of the longest string.
   */
  MAX_BODY_BYTES: wholeNumber(1, 16 * 1024 * 1024).default(1024 * 1024),
  /** The bytes that all bodies together may hold while they are read and worked on. */
  MAX_BODIES_BYTES: wholeNumber(1, 2 ** 40).default(64 * 1024 * 1024),
  /** Milliseconds that a client may take to send a request, from its first byte to its last. */
  BODY_TIMEOUT_MS: wholeNumber(100, 60 * 60 * 1000).default(20_000),

  /** Where updates are kept: `memory:`, `lmdb:` and a directory, or a Redis; see journal/open.ts. */
  JOURNAL: z.string().default('lmdb:./data'),
  /** A publish is answered when its update is on `disk`, or handed to the operating system (`os`). */
  JOURNAL_SYNC: oneOf('disk', 'os').default('disk'),
  /** What the keys in Redis begin with, and how many of its replicas have an update when its publisher is answered. */
  JOURNAL_PREFIX: keyPrefix().default(DEFAULT_PREFIX),
  JOURNAL_REPLICAS: wholeNumber(0, 100).default(0),
  /** How many updates are kept, and for how long (`90s`, `7d`); 0 is as long as their number allows. */
  JOURNAL_MAX_UPDATES: wholeNumber(1, 2 ** 48).default(1_000_000),
  JOURNAL_MAX_AGE: duration().default(0),
  /** How many bytes of updates are kept, as journal/retention.ts counts them; 0 for as many as come. */
  JOURNAL_MAX_BYTES: wholeNumber(0, 2 ** 48).default(1024 * 1024 * 1024),
  /** The fraction of these limits beyond which a publisher's own updates are trimmed first; 1 is none. */
  JOURNAL_PUBLISHER_SHARE: fraction().default(0.5),
  /** Bytes of the most recent updates to hold in memory. */
  WINDOW_MAX_BYTES: wholeNumber(0, 2 ** 40).default(64 * 1024 * 1024),
  /** What becomes of a client that does not read: its cursor waits for it, or it is cut off. */
  SLOW_CLIENTS: oneOf('catch-up', 'disconnect').default('catch-up'),
  /** After this time a client that has read nothing is cut off; 0 waits for ever. */
  SLOW_CLIENT_MAX_AGE: duration().prefault('10m'),
  /** Bytes that may be queued for all clients together that do not read; 0 sets no limit. */
  MAX_QUEUED_BYTES: wholeNumber(0, 2 ** 40).default(256 * 1024 * 1024),

  /** On SIGTERM: how long all goes on as before, over how long the streams end, and when their clients come back. */
  DRAIN_DELAY_MS: wholeNumber(0, 10 * 60 * 1000).default(250),
  DRAIN_MS: wholeNumber(0, 60 * 60 * 1000).default(0),
  DRAIN_RETRY_MS: msRange(24 * 60 * 60 * 1000).default([1_000, 5_000]),

  /** What tokens are verified with; see auth/keys.ts. */
  JWT_KEY: z.string().optional(),
  PUBLISHER_JWT_KEY: z.string().optional(),
  SUBSCRIBER_JWT_KEY: z.string().optional(),
  JWKS_URL: z.string().optional(),
  /** How old the key set may be: so long a key that was withdrawn from it may go on working. */
  JWKS_MAX_AGE: duration(1_000, 7 * 24 * 60 * 60 * 1_000).prefault('10m'),
  JWT_ALGORITHMS: z.string().optional(),
  /** Whether clients without a token may subscribe, to public updates; or what they go without. */
  ANONYMOUS: z.string().default('true').transform(parseAnonymous),
  /** The `iss` that tokens must have, and a list of which their `aud` must have one. */
  JWT_ISSUER: z.string().optional(),
  JWT_AUDIENCE: z.string().optional(),
  /** Whether active subscriptions are published and can be read. */
  SUBSCRIPTIONS: flag().default(false),
  /** After this time without a sign of life, the other nodes take over the subscriptions that a node has left. */
  SUBSCRIPTIONS_TIMEOUT: duration(1_000, 24 * 60 * 60 * 1_000).prefault('30s'),
  /** Which of the built-in feeds are served: a list of their names, or `none`. */
  FEEDS: z.string().default(FEED_NAMES.join()).transform(parseFeeds),
  /** Whose `X-Forwarded-For` or `Forwarded` says who asks; see limits/client-address.ts. */
  TRUST_PROXY: z.string().default('false').transform(parseProxies),
  /** Connections: of all clients, of one address, and the event streams of one token subject; 0 is any number. */
  MAX_CONNECTIONS: wholeNumber(1, 10_000_000).default(10_000),
  MAX_CONNECTIONS_PER_ADDRESS: wholeNumber(0, 10_000_000).default(100),
  MAX_CONNECTIONS_PER_SUBJECT: wholeNumber(0, 10_000_000).default(1_000),
  /** What URI templates that start like many others may cost together; 0 sets no limit. See hub/template-costs.ts. */
  MAX_TEMPLATE_COST: wholeNumber(0, 2 ** 40).default(150_000),
  /** `off` lifts all rates. */
  RATE_LIMITS: oneOf('on', 'off')
    .default('on')
    .transform((text) => text === 'on'),
  /** Requests and new event streams of an address, and messages of the chat. */
  RATE_REQUESTS: rate('6000/m'),
  RATE_STREAMS: rate('3000/m'),
  RATE_CHAT: rate('30/m'),
  /** Updates of a token's subject, or of a token without one: whom the operator has given it. */
  RATE_PUBLISHES: rate('off'),
  /** Where metrics are: on a port of their own, or with a token on that of the service; without either, nowhere. */
  METRICS_PORT: wholeNumber(0, 65_535).optional(),
  METRICS_TOKEN: z
    .string()
    .refine((text) => /^[\x21-\x7e][\x20-\x7e]{14,1022}[\x21-\x7e]$/.test(text), {
      error: 'must have 16 to 1024 characters of ASCII, no space before or after them',
    })
    .optional(),
  /** Which entries of the log are written, and how; without a format, NODE_ENV decides. See ops/log.ts. */
  LOG_LEVEL: oneOf('debug', 'info', 'warn', 'error').default('info'),
  LOG_FORMAT: oneOf('json', 'text').optional(),
  /** Whether each request has a line in the log. */
  ACCESS_LOG: flag().default(false),
  /** `production` refuses what is for a first try only. */
  NODE_ENV: z.string().default('development'),
});

/**
 * Reads the settings, and the files that hold secrets. A variable that is empty counts as not set, as Compose
 * files have it.
 *
 * @throws {ConfigError} naming every setting that is not valid; of files with secrets, the first.
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const given = Object.entries(withSecretFiles(env)).filter(([, value]) => value !== '');
  const result = schema.safeParse(Object.fromEntries(given));
  if (!result.success) {
    throw new ConfigError(
      result.error.issues
        .map(({ path, message }) => {
          const name = path.join('.');
          // Secrets are not printed. Of keys, any text is one: what is wrong with them is said elsewhere.
          if (name === 'METRICS_TOKEN') return `${name} ${message}`;
          return `${name} ${message}, not ${JSON.stringify(env[name])}`;
        })
        .join('; '),
    );
  }
  const { JOURNAL, JOURNAL_REPLICAS, MAX_BODY_BYTES, MAX_BODIES_BYTES } = result.data;
  if (JOURNAL_REPLICAS > 0 && !isRedis(JOURNAL)) {
    throw new ConfigError(
      'JOURNAL_REPLICAS is for a JOURNAL in Redis: leave it out or set it to 0',
    );
  }
  if (MAX_BODIES_BYTES < 2 * MAX_BODY_BYTES) {
    throw new ConfigError(
      `MAX_BODIES_BYTES must be at least twice MAX_BODY_BYTES, ${2 * MAX_BODY_BYTES}, not "${MAX_BODIES_BYTES}"`,
    );
  }
  return Object.freeze(result.data);
}

/** Where a service with these settings is reached from its own machine. */
export function localUrl({ HOST, PORT }: Pick<Config, 'HOST' | 'PORT'>): string {
  if (HOST === undefined || HOST === '0.0.0.0' || HOST === '::') return `http://localhost:${PORT}`;
  return `http://${HOST.includes(':') ? `[${HOST}]` : HOST}:${PORT}`;
}

function wholeNumber(min: number, max: number) {
  return z
    .string()
    .refine((text) => /^\d{1,16}$/.test(text) && Number(text) >= min && Number(text) <= max, {
      error: `must be a whole number from ${min} to ${max}`,
    })
    .transform(Number);
}

/** The least and the most milliseconds, of a text like `1000-5000`. */
function msRange(max: number) {
  return z
    .string()
    .transform((text) => /^(\d{1,16})-(\d{1,16})$/.exec(text)?.slice(1).map(Number) ?? [])
    .refine(([least = Number.NaN, most = Number.NaN]) => least <= most && most <= max, {
      error: `must be the least and the most milliseconds, like 1000-5000, of at most ${max}`,
    })
    .transform(([least, most]) => [least, most] as [number, number]);
}

/** At most a hundred publishers have more than the least that is allowed. */
function fraction() {
  return z
    .string()
    .refine((text) => /^(0?\.\d{1,6}|1(\.0{1,6})?)$/.test(text) && Number(text) >= 0.01, {
      error: 'must be a fraction from 0.01 to 1, like 0.5',
    })
    .transform(Number);
}

function keyPrefix() {
  return z.string().refine((text) => /^[\w.:-]{1,50}$/.test(text), {
    error: 'must be 1 to 50 letters, digits and . : _ -',
  });
}

function oneOf<const Values extends readonly [string, ...string[]]>(...values: Values) {
  return z.enum(values, { error: `must be ${values.join(' or ')}` });
}

function flag() {
  return oneOf('true', 'false').transform((text) => text === 'true');
}

/** Milliseconds, from a text like `90s` or `7d`; 0 needs no unit. */
function duration(minMs = 0, maxMs = Number.MAX_SAFE_INTEGER) {
  return z
    .string()
    .refine(
      (text) => {
        const ms = parseDuration(text);
        return ms !== undefined && ms >= minMs && ms <= maxMs;
      },
      {
        error:
          minMs === 0
            ? 'must be 0 or a duration like 90s, 15m, 24h or 7d'
            : `must be a duration from ${minMs / 1_000}s to ${maxMs / 86_400_000}d, like 90s, 15m or 24h`,
      },
    )
    .transform((text) => parseDuration(text) as number);
}

function rate(byDefault: string) {
  return z
    .string()
    .default(byDefault)
    .refine((text) => text === 'off' || parseRate(text) !== undefined, {
      error: 'must be off or a rate like 10/s, 300/m or 1000/h, of at most 1000000',
    })
    .transform(parseRate);
}

function parseProxies(text: string, context: z.RefinementCtx): TrustProxy {
  try {
    return parseTrustProxy(text);
  } catch (error) {
    context.addIssue({
      code: 'custom',
      message: `must be false, the number of proxies (up to ${MAX_PROXIES}), or a list of networks like 10.0.0.0/8, 2001:db8::/32, loopback, private (${(error as Error).message})`,
    });
    return z.NEVER;
  }
}

function parseAnonymous(
  text: string,
  context: z.RefinementCtx,
): boolean | ReadonlySet<AnonymousRestriction> {
  if (text === 'true' || text === 'false') return text === 'true';
  const names = text.split(/[\s,]+/).filter((name) => name !== '');
  const restrictions = ANONYMOUS_RESTRICTIONS.filter((name) => names.includes(name));
  if (names.length === 0 || restrictions.length < new Set(names).size) {
    context.addIssue({
      code: 'custom',
      message: `must be true, false, or a list of ${ANONYMOUS_RESTRICTIONS.join(', ')}`,
    });
    return z.NEVER;
  }
  return new Set(restrictions);
}

function parseOrigins(text: string, context: z.RefinementCtx): '*' | ReadonlySet<string> {
  const origins = text.split(/[\s,]+/).filter((origin) => origin !== '');
  if (origins.length === 1 && origins[0] === '*') return '*';
  if (origins.length === 0 || !origins.every(isOrigin)) {
    context.addIssue({
      code: 'custom',
      message:
        'must be * alone or a list of origins like https://example.com (no * in it, no null, no path, no default port, no capitals)',
    });
    return z.NEVER;
  }
  return new Set(origins);
}

function parseFeeds(text: string, context: z.RefinementCtx): ReadonlySet<FeedName> {
  const names = text.split(/[\s,]+/).filter((name) => name !== '');
  if (names.length === 1 && names[0] === 'none') return new Set();
  const isFeed = (name: string): name is FeedName => FEED_NAMES.some((known) => known === name);
  if (names.length === 0 || !names.every(isFeed)) {
    context.addIssue({
      code: 'custom',
      message: `must be none or a list of ${FEED_NAMES.join(', ')}`,
    });
    return z.NEVER;
  }
  return new Set(names);
}

/** Whether a browser would send this very text as its `Origin`; of other schemes, whether it might. */
function isOrigin(text: string): boolean {
  // A URL may have a host with a * in it, but no page is from there.
  if (text.includes('*')) return false;
  if (/^https?:/i.test(text)) return URL.canParse(text) && new URL(text).origin === text;
  return /^[a-z][a-z\d+.-]*:\/\/[^\s/?#@\\]+$/.test(text);
}
