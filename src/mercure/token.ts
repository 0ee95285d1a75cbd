import type { Context } from 'koa';
import { TokenError } from '../auth/grants.js';

/** The cookie that carries a token for pages, whose scripts cannot set headers of an EventSource. */
export const TOKEN_COOKIE = 'mercureAuthorization';

/** A token as it came with a request: not verified, and never to be logged. */
export interface PresentedToken {
  readonly text: string;
  /** Only a cookie comes without the sender's doing. */
  readonly from: 'header' | 'query' | 'cookie';
}

/**
 * The token of a request: of its `Authorization` header, else its `authorization` parameter, else its cookie.
 * An `Authorization` of another scheme is somebody else's, such as a proxy's, and no token.
 *
 * @throws {TokenError} if it cannot be told which token is meant.
 */
export function readToken(ctx: Context): PresentedToken | undefined {
  // RFC 9110, section 11.1: "It uses a case-insensitive token to identify the authentication scheme".
  const header = /^Bearer(?:[ \t]+(.*))?$/i.exec(ctx.get('Authorization'));
  if (header !== null) return { text: header[1] ?? '', from: 'header' };

  const { authorization } = ctx.query;
  if (Array.isArray(authorization))
    throw new TokenError('There is more than one token in the query.');
  if (authorization !== undefined) return { text: authorization, from: 'query' };

  if (ctx.get('Cookie') === '') return undefined;
  const cookie = ctx.cookies.get(TOKEN_COOKIE, { signed: false });
  return cookie === undefined ? undefined : { text: cookie, from: 'cookie' };
}
