import { z } from 'zod';

/** A setting that the process cannot start with. Its message names the setting and what is allowed. */
export class ConfigError extends Error {
  readonly code = 'ERR_CONFIG';
}

export type Config = Readonly<z.infer<typeof schema>>;

const schema = z.object({
  /** Where to listen. Port 0 takes a free one; without a host, all interfaces. */
  PORT: wholeNumber(0, 65_535).default(3000),
  HOST: z.string().optional(),
  /** `*`, or the origins (scheme, host, port) whose pages may read from here with credentials. */
  CORS_ORIGINS: z.string().default('*').transform(parseOrigins),
  /** Milliseconds between heartbeat comments on an event stream; 0 for none. */
  HEARTBEAT_MS: wholeNumber(0, 2 ** 31 - 1).default(15_000),
  /** The largest request body, in bytes. */
  MAX_BODY_BYTES: wholeNumber(1, 2 ** 30).default(1024 * 1024),
});

/**
 * Reads the settings. A variable that is empty counts as not set, as Compose files have it.
 *
 * @throws {ConfigError} naming every setting that is not valid.
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const given = Object.entries(env).filter(([, value]) => value !== '');
  const result = schema.safeParse(Object.fromEntries(given));
  if (!result.success) {
    throw new ConfigError(
      result.error.issues
        .map(({ path, message }) => {
          const name = path.join('.');
          return `${name} ${message}, not ${JSON.stringify(env[name])}`;
        })
        .join('; '),
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

function parseOrigins(text: string, context: z.RefinementCtx): '*' | ReadonlySet<string> {
  const origins = text.split(/[\s,]+/).filter((origin) => origin !== '');
  if (origins.length === 1 && origins[0] === '*') return '*';
  if (origins.length === 0 || !origins.every(isOrigin)) {
    context.addIssue({
      code: 'custom',
      message: 'must be * or a list of origins like https://example.com (no path, no default port)',
    });
    return z.NEVER;
  }
  return new Set(origins);
}

/** Whether a browser would send this very text as its `Origin`; of other schemes, whether it might. */
function isOrigin(text: string): boolean {
  if (/^https?:/i.test(text)) return URL.canParse(text) && new URL(text).origin === text;
  return /^[a-z][a-z\d+.-]*:\/\/[^\s/?#]+$/.test(text);
}
