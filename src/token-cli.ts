/**
 * Signs a token for a publisher or a subscriber and prints it:
 *
 *     koa-sse-hub token --publish '*' --subscribe 'https://example.com/books/{id}' --ttl 1h
 *
 * The key is the service's own, from the same environment; with a public key there, --key= gives the private one.
 * JWT_ISSUER and the first of JWT_AUDIENCE become its iss and aud.
 */
import { parseArgs } from 'node:util';
import { readSigningKey } from './auth/keys.js';
import { claimsFor, signToken, type TokenContent } from './auth/sign.js';
import { parseDuration } from './duration.js';
import { withSecretFiles } from './secret-files.js';
import { compileSelector } from './topics/selector.js';

const USAGE = `Usage: koa-sse-hub token [options]      (in a clone: npm run token -- [options])

  --publish SELECTOR    may publish to what the topic selector covers; may be repeated
  --subscribe SELECTOR  may receive private updates of what it covers; may be repeated
  --ttl TIME            how long the token is good for: 30s, 15m, 1h (the default) or 7d
  --payload JSON        tells those who read active subscriptions of its bearer
  --key=KEY             a secret, or a private key as PEM; without it
                        JWT_KEY, PUBLISHER_JWT_KEY or SUBSCRIBER_JWT_KEY of the environment,
                        or the file that one of them with _FILE names`;

type Environment = Readonly<Record<string, string | undefined>>;

/** @returns the exit code: 0 if a token was printed. */
export async function runToken(args: readonly string[], env: Environment): Promise<number> {
  try {
    console.log(await run(args, env));
    return 0;
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    return 1;
  }
}

async function run(args: readonly string[], env: Environment): Promise<string> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      publish: { type: 'string', multiple: true },
      subscribe: { type: 'string', multiple: true },
      ttl: { type: 'string', default: '1h' },
      payload: { type: 'string' },
      key: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return USAGE;
  const { publish, subscribe } = values;
  if (publish === undefined && subscribe === undefined) {
    throw new Error('What may the token do? Give --publish, --subscribe or both.');
  }
  for (const selector of [publish, subscribe].flat()) compileSelector(selector ?? '');

  const content: TokenContent = {
    publish,
    subscribe,
    payload: values.payload === undefined ? undefined : parsePayload(values.payload),
    ttlSeconds: parseTtl(values.ttl),
    ...claimsFor({
      JWT_ISSUER: env.JWT_ISSUER || undefined,
      JWT_AUDIENCE: env.JWT_AUDIENCE || undefined,
    }),
  };
  const [name, key] =
    values.key === undefined ? keyFor(content, withSecretFiles(env)) : ['--key', values.key];
  const JWT_ALGORITHMS = env.JWT_ALGORITHMS || undefined;
  return signToken(readSigningKey(name, key, { JWT_ALGORITHMS, NODE_ENV: env.NODE_ENV }), content);
}

/** The variable that the service verifies such a token with. Empty ones count as not set, as for the service. */
function keyFor({ publish, subscribe }: TokenContent, env: Environment): [string, string] {
  if (env.JWT_KEY) return ['JWT_KEY', env.JWT_KEY];
  const publisher = publish && env.PUBLISHER_JWT_KEY;
  const subscriber = subscribe && env.SUBSCRIBER_JWT_KEY;
  if (publisher && subscriber && publisher !== subscriber) {
    throw new Error('Publishers and subscribers have keys of their own: make a token for each.');
  }
  if (publisher) return ['PUBLISHER_JWT_KEY', publisher];
  if (subscriber) return ['SUBSCRIBER_JWT_KEY', subscriber];
  throw new Error('There is no key to sign with: set JWT_KEY as for the service, or give --key.');
}

function parseTtl(text: string): number {
  const ttlMs = parseDuration(text) ?? 0;
  if (ttlMs < 1_000) {
    throw new Error(`--ttl must be a number and its unit, like 30s, 15m, 1h or 7d, not ${text}.`);
  }
  return Math.floor(ttlMs / 1_000);
}

function parsePayload(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`--payload must be JSON: ${(error as Error).message}`);
  }
}
