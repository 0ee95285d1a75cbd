import { METHODS } from 'node:http';
import Router from '@koa/router';
import Koa, { type DefaultState, type Middleware } from 'koa';
import type { Config } from '../config.js';
import type { Chat } from '../feeds/chat.js';
import type { Feed } from '../feeds/feed.js';
import { isClientAbort } from '../sse/client-abort.js';
import type { SseContext, SseMiddleware } from '../sse/middleware.js';
import { parseBody } from './body.js';
import { postMessage, readMessages } from './chat.js';
import { corsFor } from './cors.js';
import { page, pageSecurity } from './page.js';
import { problems } from './problem.js';

/** What the routes serve. */
export interface AppParts {
  /** The `sse()` middleware of all event streams. */
  readonly events: SseMiddleware;
  readonly clock: Feed;
  readonly localTime: Feed;
  readonly counter: Feed;
  readonly chat: Chat;
}

export function createApp(config: Config, parts: AppParts): Koa {
  const { events, clock, localTime, counter, chat } = parts;
  // Every method that Node can parse is one the router knows: on a path of ours it is answered with 405.
  const router = new Router<DefaultState, SseContext>({ methods: METHODS });
  router.get('/stream', events, joins(clock));
  router.get('/events', events, joins(localTime));
  router.get('/counter', events, joins(counter));
  router.get('/messages', events, readMessages(chat));
  router.post('/message', parseBody(config.MAX_BODY_BYTES), postMessage(chat));
  router.get(['/', '/assets/:file'], pageSecurity(), page());

  const app = new Koa();
  // What clients do to their connections is no error of the service, and would fill its log.
  app.on('error', (error, ctx) => {
    if (!isClientAbort(error, ctx)) app.onerror(error);
  });
  app.use(corsFor(config.CORS_ORIGINS));
  app.use(problems());
  app.use(router.routes());
  app.use(router.allowedMethods());
  return app;
}

function joins(feed: Feed): Middleware<object, SseContext> {
  return function join(ctx) {
    feed.join(ctx.eventStream);
  };
}
