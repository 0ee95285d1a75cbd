import { randomBytes } from 'node:crypto';
import { SignJWT } from 'jose';
import { type KeySettings, readExpectedClaims, readSigningKey, type SigningKey } from './keys.js';

/** What a token is to say. */
export interface TokenContent {
  readonly publish?: readonly string[] | undefined;
  readonly subscribe?: readonly string[] | undefined;
  readonly payload?: unknown;
  /** Without it the token is good for as long as the key is. */
  readonly ttlSeconds?: number | undefined;
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
}

/** What a token has to say so that a service with these settings takes it. */
export function claimsFor(
  settings: Pick<KeySettings, 'JWT_ISSUER' | 'JWT_AUDIENCE'>,
): Pick<TokenContent, 'issuer' | 'audience'> {
  const { issuer, audience } = readExpectedClaims(settings);
  // For one audience, since the others may be services for which it is not meant.
  return { issuer, audience: audience?.[0] };
}

export async function signToken(
  { key, algorithm }: SigningKey,
  { publish, subscribe, payload, ttlSeconds, issuer, audience }: TokenContent,
): Promise<string> {
  const token = new SignJWT({ mercure: { publish, subscribe, payload } })
    .setProtectedHeader({ alg: algorithm, typ: 'JWT' })
    .setIssuedAt();
  if (ttlSeconds !== undefined) token.setExpirationTime(`${ttlSeconds}s`);
  if (issuer !== undefined) token.setIssuer(issuer);
  if (audience !== undefined) token.setAudience(audience);
  return token.sign(key);
}

/**
 * A secret for this run of the service and a token that may publish and subscribe to everything with it: so
 * that a first try needs no configuration, and what was tried with is worth nothing afterwards.
 */
export async function createDevelopmentKey(
  settings: Pick<KeySettings, 'JWT_ISSUER' | 'JWT_AUDIENCE'> = {},
): Promise<{ JWT_KEY: string; token: string }> {
  const JWT_KEY = randomBytes(32).toString('base64url');
  const token = await signToken(readSigningKey('JWT_KEY', JWT_KEY), {
    publish: ['*'],
    subscribe: ['*'],
    ...claimsFor(settings),
  });
  return { JWT_KEY, token };
}
