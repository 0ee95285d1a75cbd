import cors from '@koa/cors';
import type { Middleware } from 'koa';
import type { Config } from '../config.js';

/**
 * Any origin without credentials, or the listed ones with them: browsers refuse `*` with credentials.
 * An origin that is not listed gets no CORS header, so that the browser keeps the answer from its page.
 */
export function corsFor(origins: Config['CORS_ORIGINS']): Middleware {
  const shared = {
    allowMethods: 'GET,HEAD,POST',
    // Last-Event-ID: pages that read with fetch, instead of an EventSource, set it themselves.
    allowHeaders: 'Last-Event-ID,Authorization,Content-Type,Cache-Control,Idempotency-Key',
    exposeHeaders: 'Last-Event-ID,Link,ETag,WWW-Authenticate,Retry-After',
    maxAge: 24 * 60 * 60,
  };
  if (origins === '*') return cors({ ...shared, origin: '*' });
  return cors({
    ...shared,
    credentials: true,
    origin(ctx) {
      const origin = ctx.get('Origin');
      return origins.has(origin) ? origin : '';
    },
  });
}
