import { METHODS, STATUS_CODES } from 'node:http';
import Router from '@koa/router';
import type { Context, Middleware } from 'koa';
import { READINESS_REASONS, type Readiness, type ReadinessReason } from './readiness.js';

/** Where readiness is found; `/health` was its place in earlier builds. */
const READY_PATHS = ['/readyz', '/health'];

/**
 * Serves `/healthz`, whether the process lives, and `/readyz`, whether it can serve. All other requests go on to the next
 * middleware. It stands above the limits: a probe that is one connection too many must not end the process, and its
 * answer costs no more than a refusal.
 */
export function health(readiness: Readiness): Middleware {
  const router = new Router({ methods: METHODS });
  router.get('/healthz', alive);
  router.get(READY_PATHS, ready(readiness));
  const routes = router.routes() as Middleware;
  const refuseMethods = router.allowedMethods() as Middleware;
  return function health(ctx, next) {
    return routes(ctx, () => refuseMethods(ctx, next));
  };
}

/** Answers as long as the process answers anything: for those that end one that does not. */
const alive: Middleware = function alive(ctx) {
  ctx.set('Cache-Control', 'no-store');
  ctx.body = { status: 'ok' };
};

/** 200, or 503 with all reasons. Event streams that are open go on in both cases. */
function ready(readiness: Readiness): Middleware {
  return async function ready(ctx) {
    ctx.set('Cache-Control', 'no-store');
    const found = await readiness.reasons(excludedBy(ctx));
    if (found.length === 0) {
      ctx.body = { status: 'ok' };
      return;
    }
    for (const { error } of found) if (error !== undefined) ctx.app.emit('error', error, ctx);
    const reasons = found.map(({ reason, detail }) => ({ reason, detail }));
    ctx.status = 503;
    // RFC 9457, section 3.2: "problem type definitions MAY extend the problem details object with additional members".
    ctx.body = JSON.stringify({
      title: STATUS_CODES[503],
      status: 503,
      detail: reasons.map(({ detail }) => detail).join(' '),
      reasons,
    });
    ctx.type = 'application/problem+json';
  };
}

/** `?exclude=journal`, as Kubernetes has it, any number of times. */
function excludedBy(ctx: Context): ReadonlySet<ReadinessReason> {
  const names = [ctx.query.exclude ?? []].flat();
  const isReason = (name: string): name is ReadinessReason =>
    READINESS_REASONS.some((reason) => reason === name);
  if (!names.every(isReason)) {
    ctx.throw(400, `exclude is one of ${READINESS_REASONS.join(', ')}; give it once for each.`);
  }
  return new Set(names);
}
