import {
  type CryptoKey,
  errors,
  type JWTPayload,
  type JWTVerifyOptions,
  type JWTVerifyResult,
  jwtVerify,
  type ResolvedKey,
} from 'jose';
import { z } from 'zod';
import { compileSelector, type Selector, SelectorError } from '../topics/selector.js';
import type { TokenKey } from './keys.js';
import { KeysUnavailableError, RemoteKeys } from './remote-keys.js';

/** What a token allows its bearer. */
export interface Grants {
  /** May publish updates all of whose topics these cover. */
  readonly publish: readonly Selector[];
  /** May receive private updates one of whose topics these cover. */
  readonly subscribe: readonly Selector[];
  /** Whatever the token says of its bearer; told to those who may read active subscriptions. */
  readonly payload: unknown;
  /** The token's `sub`. */
  readonly subject: string | undefined;
  /** Milliseconds since 1970, at which the grants end. May be too far away for a timer. */
  readonly expiresAt: number | undefined;
  /**
   * Calls back once if the key that verified the token is withdrawn from its key set, until the returned function is
   * called. Undefined where keys stay for as long as the process runs.
   */
  readonly onKeyWithdrawn: ((callback: () => void) => () => void) | undefined;
}

/** A token that is not good. Its message says why, to its bearer, without the token. */
export class TokenError extends Error {
  readonly code = 'ERR_TOKEN';
}

const MAX_TOKEN_BYTES = 8 * 1_024;
const MAX_GRANT_SELECTORS = 100;
/**
 * In units of `Selector.cost`: 350 templates like `https://example.com/books/{id}`. An update of 100 long topics is
 * matched with them in one go.
 */
const MAX_GRANT_COST = 5_000;
const MAX_PAYLOAD_DEPTH = 64;

/**
 * How far a signer's clock may be ahead of ours: a token that was signed a moment ago must not be "not yet
 * valid". There is no such tolerance at its end, or a stream that is closed at `exp` could be opened again
 * with the same token, only to be closed at once.
 */
const CLOCK_TOLERANCE_SECONDS = 30;

/**
 * Verifies a token and reads what it grants.
 *
 * @throws {TokenError} if it is not good. {KeysUnavailableError} if that cannot be known at the moment.
 */
export async function verifyToken(token: string, key: TokenKey): Promise<Grants> {
  if (token === '') throw new TokenError('The token is empty.');
  if (token.length > MAX_TOKEN_BYTES) {
    throw new TokenError(`The token is longer than the ${MAX_TOKEN_BYTES} bytes allowed.`);
  }
  if (!isCompact(token)) throw new TokenError(MALFORMED);
  const { payload, onKeyWithdrawn } = await verifySignature(token, key).catch((error) => {
    throw error instanceof KeysUnavailableError ? error : new TokenError(describe(error, key));
  });
  const claims = readClaims(payload);
  if (claims.expiresAt !== undefined && claims.expiresAt <= Date.now()) {
    throw new TokenError(expired(payload.exp));
  }
  return { ...claims, onKeyWithdrawn };
}

/**
 * RFC 7515, section 2: Base64url "with all trailing '=' characters omitted […] and without the inclusion of any line
 * breaks, whitespace, or other additional characters". Decoders take more than that: then a token would have any
 * number of other forms, and each would be remembered.
 */
function isCompact(token: string): boolean {
  const signature = /^[\w-]+\.[\w-]+\.([\w-]*)$/.exec(token)?.[1];
  return (
    signature !== undefined &&
    Buffer.from(signature, 'base64url').toString('base64url') === signature
  );
}

const MALFORMED = 'The token is not a well-formed JSON Web Token.';

type Verified = Pick<Grants, 'onKeyWithdrawn'> & { readonly payload: JWTPayload };

async function verifySignature(
  token: string,
  { key, algorithms, issuer, audience }: TokenKey,
): Promise<Verified> {
  const options: JWTVerifyOptions = {
    algorithms: [...algorithms],
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience === undefined ? {} : { audience: [...audience] }),
  };
  if (!(key instanceof RemoteKeys)) {
    const { payload } = await jwtVerify(token, key, options);
    return { payload, onKeyWithdrawn: undefined };
  }
  const verified = await verifyWithSet(token, key, options);
  return {
    payload: verified.payload,
    onKeyWithdrawn: (callback) => key.onWithdrawn(verified.protectedHeader, verified.key, callback),
  };
}

async function verifyWithSet(
  token: string,
  keys: RemoteKeys,
  options: JWTVerifyOptions,
): Promise<JWTVerifyResult & ResolvedKey<CryptoKey>> {
  try {
    return await jwtVerify(token, (header) => keys.find(header), options);
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    // A token need not name its key: then any that could be it is tried.
    for await (const key of error) {
      try {
        return { ...(await jwtVerify(token, key, options)), key };
      } catch (error) {
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

/** Anything that fails in verification is the token's fault: one that cannot be verified is not good. */
function describe(error: unknown, { algorithms, issuer, audience = [] }: TokenKey): string {
  if (error instanceof errors.JWTExpired) return expired(error.payload.exp);
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, reason, payload } = error;
    if (claim === 'iss') return `The token's iss must be ${issuer}.`;
    if (claim === 'aud') return `The token's aud must be or contain ${audience.join(' or ')}.`;
    if (reason === 'invalid') return `The token's ${claim} is not a number.`;
    if (claim === 'nbf') return `The token is not valid before ${time(payload.nbf)}.`;
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return "The token's signature does not match the key.";
  }
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return `The token's algorithm is not allowed. Allowed: ${algorithms.join(', ')}.`;
  }
  if (error instanceof errors.JWKSNoMatchingKey) {
    return 'The token is signed with a key that is not known here.';
  }
  if (error instanceof errors.JOSENotSupported) {
    return 'The token needs an extension (crit) that is not known here.';
  }
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) {
    return MALFORMED;
  }
  return 'The token cannot be verified.';
}

function expired(exp: number | undefined): string {
  return `The token expired at ${time(exp)}.`;
}

/** A date that can be written, however far away the claim has it. */
function time(seconds: number | undefined): string {
  return new Date(toMilliseconds(seconds ?? 0)).toISOString();
}

function toMilliseconds(seconds: number): number {
  const farthest = 8.64e15; // ECMA-262, section 21.4.1.1: the end of time.
  return Math.max(-farthest, Math.min(farthest, seconds * 1_000));
}

const selectors = z
  .array(
    z.string().transform((text, context) => {
      try {
        return compileSelector(text);
      } catch (error) {
        if (!(error instanceof SelectorError)) throw error;
        context.addIssue({ code: 'custom', message: error.message });
        return z.NEVER;
      }
    }),
  )
  .max(MAX_GRANT_SELECTORS, `More than the ${MAX_GRANT_SELECTORS} topic selectors allowed.`)
  .refine((list) => list.reduce((sum, { cost }) => sum + cost, 0) <= MAX_GRANT_COST, {
    error: `To match its templates costs more than the ${MAX_GRANT_COST} allowed.`,
  })
  // Some libraries write what they do not grant as null.
  .nullish()
  .transform((list) => list ?? []);

const mercure = z.object({
  publish: selectors,
  subscribe: selectors,
  payload: z
    .unknown()
    .optional()
    .refine((payload) => isNestedWithin(payload, MAX_PAYLOAD_DEPTH), {
      error: `Nested deeper than the ${MAX_PAYLOAD_DEPTH} levels allowed.`,
    }),
});

/** Others will read it with parsers of their own, which do not all go as deep as a token of this size can. */
function isNestedWithin(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return levels > 0 && Object.values(value).every((item) => isNestedWithin(item, levels - 1));
}

/** The claim has two names, of which the one that cannot be somebody else's wins. */
const NAMESPACED = 'https://mercure.rocks/';
const payloadSchema = z.object({
  sub: z.string().optional(),
  exp: z.number().optional(),
  mercure: mercure.optional(),
  [NAMESPACED]: mercure.optional(),
});

function readClaims(payload: JWTPayload): Omit<Grants, 'onKeyWithdrawn'> {
  const { success, data, error } = payloadSchema.safeParse(payload);
  if (!success) {
    const [issue] = error.issues;
    throw new TokenError(`The token's ${issue?.path.join('.')} is malformed: ${issue?.message}`);
  }
  const claim = data[NAMESPACED] ?? data.mercure;
  return {
    publish: claim?.publish ?? [],
    subscribe: claim?.subscribe ?? [],
    payload: claim?.payload,
    subject: data.sub,
    expiresAt: data.exp === undefined ? undefined : toMilliseconds(data.exp),
  };
}
