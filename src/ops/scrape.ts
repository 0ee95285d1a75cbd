import { createHash, timingSafeEqual } from 'node:crypto';
import type { Middleware } from 'koa';
import type { Metrics } from './metrics.js';

/**
 * Answers with all metrics. It stands at `/metrics`.
 *
 * @param token what whoever asks has to show; without it, anybody may ask.
 */
export function scrape(metrics: Metrics, token: string | undefined): Middleware {
  const expected = token === undefined ? undefined : digest(token);
  return async function scrape(ctx) {
    if (expected !== undefined) {
      // RFC 6750, section 2.1: `credentials = "Bearer" 1*SP b64token`; RFC 9110, section 11.1: the scheme is
      // "case-insensitive".
      const [, given = ''] = /^Bearer +(.+)$/i.exec(ctx.get('Authorization')) ?? [];
      // Digests have one length, so that the time that it takes says nothing of the token.
      if (!timingSafeEqual(digest(given), expected)) {
        ctx.throw(401, 'Metrics need METRICS_TOKEN: send it as Authorization: Bearer TOKEN.', {
          headers: { 'WWW-Authenticate': 'Bearer realm="koa-sse-hub metrics"' },
        });
      }
    }
    ctx.set('Cache-Control', 'no-store');
    ctx.body = await metrics.scrape();
    ctx.type = metrics.contentType;
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
