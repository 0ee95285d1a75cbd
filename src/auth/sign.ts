import { randomBytes } from 'node:crypto';
import { SignJWT } from 'jose';
import { readSigningKey, type SigningKey } from './keys.js';

/** What a token is to say. */
export interface TokenContent {
  readonly publish?: readonly string[] | undefined;
  readonly subscribe?: readonly string[] | undefined;
  readonly payload?: unknown;
  /** Without it the token is good for as long as the key is. */
  readonly ttlSeconds?: number | undefined;
}

export async function signToken(
  { key, algorithm }: SigningKey,
  { publish, subscribe, payload, ttlSeconds }: TokenContent,
): Promise<string> {
  const token = new SignJWT({ mercure: { publish, subscribe, payload } })
    .setProtectedHeader({ alg: algorithm, typ: 'JWT' })
    .setIssuedAt();
  if (ttlSeconds !== undefined) token.setExpirationTime(`${ttlSeconds}s`);
  return token.sign(key);
}

/**
 * A secret for this run of the service and a token that may publish and subscribe to everything with it: so
 * that a first try needs no configuration, and what was tried with is worth nothing afterwards.
 */
export async function createDevelopmentKey(): Promise<{ JWT_KEY: string; token: string }> {
  const JWT_KEY = randomBytes(32).toString('base64url');
  const token = await signToken(readSigningKey('JWT_KEY', JWT_KEY), {
    publish: ['*'],
    subscribe: ['*'],
  });
  return { JWT_KEY, token };
}
