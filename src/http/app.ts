import { METHODS } from 'node:http';
import Router from '@koa/router';
import Koa, { type Middleware } from 'koa';
import type { Config } from '../config.js';
import type { Feed } from '../feeds/feed.js';
import type { Feeds } from '../feeds/open.js';
import type { Hub } from '../hub/hub.js';
import { JournalError } from '../journal/journal.js';
import type { Limits } from '../limits/limits.js';
import type { LeveledLog, Log } from '../log.js';
import type { Authorizer } from '../mercure/auth.js';
import { discovery } from '../mercure/discovery.js';
import { mercure } from '../mercure/mercure.js';
import { HUB_PATH } from '../mercure/paths.js';
import type { Presence } from '../mercure/presence.js';
import { type BodyLimits, type BodyState, readText } from '../requests/body.js';
import { BodyBudget } from '../requests/body-budget.js';
import { problems } from '../requests/problem.js';
import { isClientAbort } from '../sse/client-abort.js';
import type { SseContext, SseMiddleware } from '../sse/middleware.js';
import { admitReader, MAX_CHAT_BODY_BYTES, postMessage, readMessages } from './chat.js';
import { refuseWhenClosing } from './closing.js';
import { corsFor } from './cors.js';
import {
  type ClientState,
  identifyClient,
  limitChat,
  limitPublishes,
  limitRequests,
  limitStreams,
  limitSubjects,
  limitTemplates,
} from './limits.js';
import { page, pageSecurity } from './page.js';
import { logFailure, logRefusals, logRequests } from './request-log.js';

/** What the routes serve. */
export interface AppParts {
  /** The `sse()` middleware of all event streams. */
  readonly events: SseMiddleware;
  /** The built-in feeds. The path of one that is off is like any other at which there is nothing. */
  readonly feeds: Feeds;
  readonly hub: Hub;
  readonly authorizer: Authorizer;
  /** Where active subscriptions are told; none if nobody is to know. */
  readonly presence: Presence | undefined;
  /** Answers the probes; see ops/health.ts. */
  readonly health: Middleware;
  /** What `/metrics` answers, and what counts all answers; none where nobody is to know. */
  readonly metrics: { readonly scrape?: Middleware; readonly count: Middleware } | undefined;
  readonly limits: Limits;
  /** Whether new event streams are refused, since the service stops. */
  readonly isClosing: () => boolean;
  /** Of what clients can cause again and again. */
  readonly log: Log;
  /** Of each request. */
  readonly requestLog: LeveledLog;
}

/** What the middleware notes of a request. */
type RequestState = ClientState & BodyState;

export function createApp(config: Config, parts: AppParts): Koa {
  const { events, feeds, hub, authorizer, presence, limits, log, requestLog, metrics } = parts;
  const refuse = refuseWhenClosing(parts.isClosing, config.DRAIN_RETRY_MS);
  const limit = limitStreams(limits);
  const streams: typeof limit = (ctx, next) => refuse(ctx, () => limit(ctx, next));
  const bodies = new BodyBudget(config.MAX_BODIES_BYTES);
  // Every method that Node can parse is one the router knows: on a path of ours it is answered with 405.
  const router = new Router<RequestState, SseContext>({ methods: METHODS });
  if (feeds.stream) router.get('/stream', streams, events, joins(feeds.stream));
  if (feeds.events) router.get('/events', streams, events, joins(feeds.events));
  if (feeds.counter) router.get('/counter', streams, events, joins(feeds.counter));
  if (feeds.chat) {
    const { chat } = feeds;
    router.get('/messages', admitReader(chat), streams, events, readMessages(chat));
    const readBody = readText(chatLimits(config, bodies));
    router.post('/message', limitChat(limits), readBody, postMessage(chat));
  }

  if (metrics?.scrape) router.get('/metrics', metrics.scrape);
  router.get(['/', '/assets/:file'], discovery(), pageSecurity(), page(config.FEEDS));

  const app = new Koa();
  app.on('error', (error, ctx) => {
    // What clients do to their connections is no error of the service, and would fill its log.
    if (isClientAbort(error, ctx)) return;
    // Where a journal's error was met does not matter, and while it lasts every client meets it.
    if (error instanceof JournalError) {
      const event = error.code.slice('ERR_'.length).toLowerCase().replaceAll('_', '-');
      log({ level: 'error', event, message: error.message, error });
    } else logFailure(log, error, ctx);
  });
  if (metrics) app.use(metrics.count);
  app.use(logRequests(requestLog, config.ACCESS_LOG ? 'info' : 'debug'));
  app.use(identifyClient(limits));
  app.use(corsFor(config.CORS_ORIGINS));
  app.use(problems({ onRefusal: logRefusals(log, limits) }));
  app.use(parts.health);
  app.use(limitRequests(limits));
  app.use(
    mercure<ClientState>({
      hub,
      authorizer,
      presence,
      events,
      path: [HUB_PATH, '/hub'],
      withheld: typeof config.ANONYMOUS === 'object' ? config.ANONYMOUS : undefined,
      maxBodyBytes: config.MAX_BODY_BYTES,
      bodies,
      guards: {
        arrival: streams,
        subscriber: limitTemplates(hub, config.MAX_TEMPLATE_COST),
        stream: limitSubjects(limits),
        publisher: limitPublishes(limits),
      },
      throwsErrors: true,
    }),
  );
  app.use(router.routes());
  app.use(router.allowedMethods());
  return app;
}

/** Anybody may post to the chat, so its bodies leave most of the room to those of publishers. */
function chatLimits(config: Config, bodies: BodyBudget): BodyLimits {
  const budget = new BodyBudget(config.MAX_BODIES_BYTES / 4, bodies);
  return {
    maxBytes: Math.min(config.MAX_BODY_BYTES, MAX_CHAT_BODY_BYTES),
    budget: () => budget,
  };
}

function joins(feed: Feed): Middleware<object, SseContext> {
  return function join(ctx) {
    feed.join(ctx.eventStream);
  };
}
