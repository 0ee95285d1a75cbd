import type { Middleware } from 'koa';

/**
 * Refuses new event streams once the service is closing: they would end at once. Stands above all that opens one.
 *
 * @param isClosing whether it is.
 * @param retryMs the least and the most milliseconds after which clients are to come back.
 */
export function refuseWhenClosing(
  isClosing: () => boolean,
  [least, most]: readonly [number, number],
): Middleware {
  return function refuseWhenClosing(ctx, next) {
    if (ctx.method !== 'GET' || !isClosing()) return next();
    // Each of them is told another time, as those are whose streams end.
    const seconds = Math.ceil((least + Math.random() * (most - least)) / 1_000);
    return ctx.throw(
      503,
      'The service is stopping: it opens no more event streams. Another one does.',
      {
        expose: true,
        headers: { 'Retry-After': String(Math.max(1, seconds)) },
      },
    );
  };
}
