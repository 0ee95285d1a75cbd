import type { Middleware } from 'koa';
import { HUB_PATH } from './paths.js';

/** Tells clients of the protocol where the hub is. */
export function discovery(path = HUB_PATH): Middleware {
  return function discovery(ctx, next) {
    ctx.append('Link', `<${path}>; rel="mercure"`);
    return next();
  };
}
