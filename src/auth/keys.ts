import type { KeyObject } from 'node:crypto';
import { ConfigError } from '../config-error.js';
import type { Log } from '../log.js';
import { parseKey } from './parse-key.js';
import { RemoteKeys, type RemoteKeysOptions } from './remote-keys.js';
import { weaknessOf } from './weak-secret.js';

/** The settings that say which tokens are good, under the names of their variables. */
export interface KeySettings {
  /** What both publishers' and subscribers' tokens are signed with: a secret, or a public key as PEM… */
  readonly JWT_KEY?: string | undefined;
  /** …or what publishers' tokens are signed with… */
  readonly PUBLISHER_JWT_KEY?: string | undefined;
  /** …and subscribers'… */
  readonly SUBSCRIBER_JWT_KEY?: string | undefined;
  /** …or where the public keys are found, as a JSON Web Key Set. */
  readonly JWKS_URL?: string | undefined;
  /** A list of the algorithms to accept; without it, all that fit the keys. */
  readonly JWT_ALGORITHMS?: string | undefined;
  /** What a token's `iss` must be; without it that is not looked at. */
  readonly JWT_ISSUER?: string | undefined;
  /** A list of which a token's `aud` must have one; without it that is not looked at. */
  readonly JWT_AUDIENCE?: string | undefined;
  /** `production` refuses what is for a first try only. */
  readonly NODE_ENV?: string | undefined;
}

/**
 * What a token is verified with. The algorithms are those of the key's own family and no others, whatever a
 * token says: so `none` is never one, and nobody can have a public key taken for a secret.
 */
export interface TokenKey extends ExpectedClaims {
  readonly key: KeyObject | RemoteKeys;
  readonly algorithms: readonly string[];
}

/** What a token must say beside being signed. Undefined is whatever it says, or nothing. */
export interface ExpectedClaims {
  readonly issuer: string | undefined;
  /** One of these must be in `aud`. */
  readonly audience: readonly string[] | undefined;
}

/** What tokens are verified with, as {@link readKeys} has read it: for an authorizer. */
export interface TokenKeys {
  /** What publishers' tokens are verified with. */
  readonly publisher: TokenKey;
  /** What subscribers' tokens are verified with. */
  readonly subscriber: TokenKey;
}

/** A key to sign tokens with, and the algorithm to do it. */
export interface SigningKey {
  readonly key: KeyObject;
  readonly algorithm: string;
}

/**
 * Reads the keys that tokens are verified with.
 *
 * @returns undefined if none is set.
 * @throws {ConfigError} naming the variable that is not valid, but never its value.
 */
export function readKeys(
  settings: KeySettings,
  options: RemoteKeysOptions = {},
): TokenKeys | undefined {
  const { JWT_KEY, PUBLISHER_JWT_KEY, SUBSCRIBER_JWT_KEY, JWKS_URL, JWT_ALGORITHMS } = settings;
  const isSplit = PUBLISHER_JWT_KEY !== undefined || SUBSCRIBER_JWT_KEY !== undefined;
  const ways = [JWT_KEY !== undefined, isSplit, JWKS_URL !== undefined];
  if (ways.filter(Boolean).length > 1) {
    throw new ConfigError(
      'JWT_KEY, the pair of PUBLISHER_JWT_KEY and SUBSCRIBER_JWT_KEY, and JWKS_URL exclude each other: set one of the three',
    );
  }
  const expected = readExpectedClaims(settings);
  if (JWT_KEY !== undefined) {
    const key = localKey('JWT_KEY', JWT_KEY, 'public');
    checkStrength(key, settings, options.log);
    return pin(key, key, JWT_ALGORITHMS, expected);
  }
  if (JWKS_URL !== undefined) {
    const key = remoteKey('JWKS_URL', JWKS_URL, options);
    if (expected.issuer === undefined && expected.audience === undefined) {
      options.log?.({
        level: 'warn',
        event: 'jwks-for-anybody',
        message:
          'JWKS_URL is set without JWT_ISSUER and JWT_AUDIENCE: tokens that its keys sign for other services are taken here, too.',
      });
    }
    return pin(key, key, JWT_ALGORITHMS, expected);
  }
  if (!isSplit) return undefined;
  if (PUBLISHER_JWT_KEY === undefined || SUBSCRIBER_JWT_KEY === undefined) {
    throw new ConfigError(
      'PUBLISHER_JWT_KEY and SUBSCRIBER_JWT_KEY must both be set; set JWT_KEY if they are the same',
    );
  }
  const publisher = localKey('PUBLISHER_JWT_KEY', PUBLISHER_JWT_KEY, 'public');
  const subscriber = localKey('SUBSCRIBER_JWT_KEY', SUBSCRIBER_JWT_KEY, 'public');
  for (const key of [publisher, subscriber]) checkStrength(key, settings, options.log);
  return pin(publisher, subscriber, JWT_ALGORITHMS, expected);
}

/**
 * Reads a key to sign tokens with: a secret, or a private key as PEM.
 *
 * @throws {ConfigError} naming where it comes from, but never the key.
 */
export function readSigningKey(
  name: string,
  text: string,
  settings: Pick<KeySettings, 'JWT_ALGORITHMS' | 'NODE_ENV'> = {},
): SigningKey {
  const named = localKey(name, text, 'private');
  checkStrength(named, settings);
  const { key, algorithms } = restrict(named, parseList(settings.JWT_ALGORITHMS));
  return { key, algorithm: algorithms[0] as string };
}

/**
 * Reads what tokens must say.
 *
 * @throws {ConfigError} if a setting is there and says nothing.
 */
export function readExpectedClaims({
  JWT_ISSUER,
  JWT_AUDIENCE,
}: Pick<KeySettings, 'JWT_ISSUER' | 'JWT_AUDIENCE'>): ExpectedClaims {
  const issuer = JWT_ISSUER?.trim();
  if (issuer === '') throw new ConfigError('JWT_ISSUER must be the iss of tokens, not blank');
  const audience = parseList(JWT_AUDIENCE);
  if (audience?.length === 0) {
    throw new ConfigError(
      'JWT_AUDIENCE must be one or more of the aud of tokens, separated by spaces or commas',
    );
  }
  return { issuer, audience };
}

const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const HMAC = ['HS256', 'HS384', 'HS512'];
/** Two names for the same: RFC 8037 gave the first and RFC 9864 the second. */
const ED25519 = ['EdDSA', 'Ed25519'];
const ASYMMETRIC = [...RSA, 'ES256', 'ES384', 'ES512', ...ED25519];

/** RFC 7518, section 3.2: a key "of the same size as the hash output […] or larger MUST be used". */
const MIN_SECRET_BYTES = 32;
/** RFC 7518, sections 3.3 and 3.5. */
const MIN_RSA_BITS = 2_048;

/** The name is that of the variable it comes from. */
interface NamedKey<Key = TokenKey['key']> {
  readonly name: string;
  readonly key: Key;
  readonly algorithms: readonly string[];
}

/** Restricts keys to the algorithms that are wanted. Each of these must fit a key, and each key have one. */
function pin(
  publisher: NamedKey,
  subscriber: NamedKey,
  list: string | undefined,
  expected: ExpectedClaims,
): TokenKeys {
  const wanted = parseList(list);
  const stray = wanted?.find(
    (algorithm) => ![publisher, subscriber].some((key) => key.algorithms.includes(algorithm)),
  );
  if (stray !== undefined) throw unfit(stray, publisher, subscriber);
  return {
    publisher: { ...restrict(publisher, wanted), ...expected },
    subscriber: { ...restrict(subscriber, wanted), ...expected },
  };
}

function restrict<Key extends NamedKey>(key: Key, wanted = key.algorithms): Key {
  const algorithms = key.algorithms.filter((algorithm) => wanted.includes(algorithm));
  if (algorithms.length === 0) throw unfit(wanted.join(', '), key);
  return { ...key, algorithms };
}

function unfit(algorithms: string, ...keys: NamedKey[]): ConfigError {
  const fitting = keys.map((key) => `${key.algorithms.join(', ')} for ${key.name}`);
  return new ConfigError(
    `JWT_ALGORITHMS must be of ${[...new Set(fitting)].join(' and ')}, not ${algorithms}`,
  );
}

function parseList(text: string | undefined): string[] | undefined {
  return text?.split(/[\s,]+/).filter((item) => item !== '');
}

function localKey(name: string, text: string, kind: 'public' | 'private'): NamedKey<KeyObject> {
  const key = parseKey(name, text, kind);
  return { name, key, algorithms: algorithmsOf(name, key) };
}

function remoteKey(name: string, text: string, options: RemoteKeysOptions): NamedKey {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') {
    throw new ConfigError(`${name} must be a URL like https://example.com/.well-known/jwks.json`);
  }
  // Such a URL cannot be fetched, and the error of each try would tell it.
  if (url.username !== '' || url.password !== '') {
    throw new ConfigError(`${name} must be a URL without a user and a password`);
  }
  return { name, key: new RemoteKeys(url, options), algorithms: ASYMMETRIC };
}

/**
 * Who has one token can try secrets until one fits, if they are short or known: a first try may have such a
 * secret, nothing else.
 */
function checkStrength(
  { name, key }: NamedKey<KeyObject>,
  settings: Pick<KeySettings, 'NODE_ENV'>,
  log?: Log,
): void {
  if (key.type !== 'secret') return;
  const warnOf = (message: string) => log?.({ level: 'warn', event: 'key-weak', message });
  const isProduction = settings.NODE_ENV === 'production';
  const advice = `at least ${MIN_SECRET_BYTES} bytes; one is made by: openssl rand -base64 48`;
  if ((key.symmetricKeySize as number) < MIN_SECRET_BYTES) {
    if (isProduction) throw new ConfigError(`${name} must have ${advice}`);
    warnOf(
      `${name} is short enough to be guessed, and in production refused: it should have ${advice}`,
    );
    return;
  }
  const weakness = weaknessOf(key.export().toString());
  if (weakness === undefined) return;
  if (isProduction) {
    throw new ConfigError(`${name} ${weakness}: set random bytes of your own, ${advice}`);
  }
  warnOf(`${name} ${weakness}, and in production refused: it should have ${advice}`);
}

/** All algorithms of the family of a key. */
function algorithmsOf(name: string, key: KeyObject): readonly string[] {
  if (key.type === 'secret') return HMAC;
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (namedCurve ?? key.asymmetricKeyType) {
    case 'rsa':
      if (modulusLength >= MIN_RSA_BITS) return RSA;
      throw new ConfigError(
        `${name} must have at least ${MIN_RSA_BITS} bits, not ${modulusLength}`,
      );
    case 'prime256v1':
      return ['ES256'];
    case 'secp384r1':
      return ['ES384'];
    case 'secp521r1':
      return ['ES512'];
    case 'ed25519':
      return ED25519;
    default:
      throw new ConfigError(
        `${name} must be an RSA key, an EC key on P-256, P-384 or P-521, or an Ed25519 key`,
      );
  }
}
