import type { Context } from 'koa';
import { type Grants, TokenError } from '../auth/grants.js';
import type { TokenKeys } from '../auth/keys.js';
import { KeysUnavailableError } from '../auth/remote-keys.js';
import { VerifiedTokens } from '../auth/verified-tokens.js';
import { covers, type Selector } from '../topics/selector.js';
import { type PresentedToken, readToken } from './token.js';

/** Whom an authorizer admits. */
export interface AuthorizerOptions {
  /** Without keys no token can be verified: nobody publishes, and only requests without a token may subscribe. */
  readonly keys: TokenKeys | undefined;
  /** Whether those without a token may subscribe, to what is public. Default: true. */
  readonly anonymous?: boolean;
  /** The origins whose pages may publish with a cookie, beside our own. `*`, the default, does not name any. */
  readonly origins?: '*' | ReadonlySet<string>;
}

/** Finds out what a request's sender may do. Each refusal is thrown, as an answer with its reason. */
export interface Authorizer {
  /** What a publisher is granted; 401 without a good token. Which topics that is, `publish` of the grants says. */
  publisher(ctx: Context): Promise<Grants>;
  /** What a subscriber is granted; undefined for an anonymous one, if these are allowed, else 401. */
  subscriber(ctx: Context): Promise<Grants | undefined>;
}

/**
 * Makes an authorizer that finds tokens as the protocol says: in a header, a cookie or the query.
 *
 * @param options whom it admits.
 */
export function createAuthorizer({
  keys,
  anonymous = true,
  origins = '*',
}: AuthorizerOptions): Authorizer {
  const verified = keys && {
    publisher: new VerifiedTokens(keys.publisher),
    subscriber: new VerifiedTokens(keys.subscriber),
  };
  return {
    async publisher(ctx) {
      // Before anything is said of a token, which would not help.
      if (verified === undefined) refuseWithoutKeys(ctx);
      const token = presentedToken(ctx);
      if (token === undefined) refuseMissing(ctx, 'Publishing');
      if (token.from === 'cookie') requireTrustedOrigin(ctx, origins);
      return verify(ctx, token, verified.publisher);
    },

    async subscriber(ctx) {
      const token = presentedToken(ctx);
      if (token === undefined && anonymous) return undefined;
      if (verified === undefined) refuseWithoutKeys(ctx);
      if (token === undefined) refuseMissing(ctx, 'Subscribing');
      return verify(ctx, token, verified.subscriber);
    },
  };
}

/** Goes on only if a topic is covered; else 403. A token may have many templates: that can take a while. */
export function requireTopic(ctx: Context, granted: readonly Selector[], topic: string): void {
  if (!covers(granted, topic)) {
    refuseScope(ctx, `The token does not cover ${JSON.stringify(topic)}.`);
  }
}

/** 401 for a request that has no token and needs one. */
export function refuseMissing(ctx: Context, what: string): never {
  // RFC 6750, section 3.1: "If the request lacks any authentication information […] the resource server SHOULD
  // NOT include an error code or other error information."
  ctx.throw(401, `${what} needs a token: send it as Authorization: Bearer TOKEN.`, {
    headers: { 'WWW-Authenticate': REALM },
  });
}

/** 403 for a request whose token is good, but not for this. */
export function refuseScope(ctx: Context, detail: string): never {
  refuse(ctx, 403, 'insufficient_scope', detail);
}

const REALM = 'Bearer realm="koa-sse-hub"';
const RETRY_SECONDS = 30;
const MAX_DESCRIPTION_CHARACTERS = 300;

function presentedToken(ctx: Context): PresentedToken | undefined {
  try {
    return readToken(ctx);
  } catch (error) {
    refuseError(ctx, error);
  }
}

async function verify(
  ctx: Context,
  token: PresentedToken,
  verified: VerifiedTokens,
): Promise<Grants> {
  try {
    return await verified.verify(token.text);
  } catch (error) {
    refuseError(ctx, error);
  }
}

function refuseError(ctx: Context, error: unknown): never {
  if (error instanceof TokenError) refuse(ctx, 401, 'invalid_token', error.message);
  // Whether the token is good cannot be known: that is our outage, so the client keeps it and comes back.
  if (error instanceof KeysUnavailableError) {
    ctx.throw(503, error.message, {
      expose: true,
      headers: { 'Retry-After': String(RETRY_SECONDS) },
    });
  }
  throw error;
}

/** Nothing is wrong with a token that comes here, or with the lack of one; nor does waiting help. */
function refuseWithoutKeys(ctx: Context): never {
  ctx.throw(503, 'No key to verify tokens with is configured here: set JWT_KEY.', { expose: true });
}

type BearerError = 'invalid_request' | 'invalid_token' | 'insufficient_scope';

function refuse(ctx: Context, status: 401 | 403, code: BearerError, detail: string): never {
  // RFC 6750, section 3: the description has no quotes, backslashes, controls or characters beyond ASCII.
  const description = detail
    .slice(0, MAX_DESCRIPTION_CHARACTERS)
    .replaceAll('"', "'")
    .replace(/[^\x20-\x7e]|\\/g, '?');
  ctx.throw(status, detail, {
    headers: {
      'WWW-Authenticate': `${REALM}, error="${code}", error_description="${description}"`,
    },
  });
}

/**
 * A browser sends a cookie along with whatever a page, anybody's, makes it send: it speaks for the user only
 * if the page is known.
 */
function requireTrustedOrigin(ctx: Context, origins: '*' | ReadonlySet<string>): void {
  const sender = ctx.get('Origin') || ctx.get('Referer');
  const url = URL.canParse(sender) ? new URL(sender) : undefined;
  if (
    url !== undefined &&
    (isOwnOrigin(ctx, url) || (origins !== '*' && origins.has(url.origin)))
  ) {
    return;
  }
  refuse(
    ctx,
    403,
    'invalid_request',
    url === undefined
      ? 'A token in a cookie may publish only with an Origin or Referer that tells the page.'
      : `A token in a cookie may not publish from pages of ${url.origin}.`,
  );
}

/**
 * Whether a page is one of the host that was asked. A proxy may have ended its TLS, so that an `https:` page
 * is taken for ours on plain HTTP too; one of plain HTTP is not on HTTPS, since anybody on the way can write it.
 */
function isOwnOrigin(ctx: Context, { protocol, host }: URL): boolean {
  const own = `${protocol}//${ctx.host}`;
  const isSameHost = URL.canParse(own) && new URL(own).host === host;
  return isSameHost && (protocol === 'https:' || (protocol === 'http:' && !ctx.secure));
}
