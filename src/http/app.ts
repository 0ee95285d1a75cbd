import { METHODS } from 'node:http';
import Router from '@koa/router';
import Koa, { type Middleware } from 'koa';
import type { Config } from '../config.js';
import type { Feed } from '../feeds/feed.js';
import type { Feeds } from '../feeds/open.js';
import type { Hub } from '../hub/hub.js';
import { JournalError } from '../journal/journal.js';
import type { Limits } from '../limits/limits.js';
import type { SummedLog } from '../log.js';
import type { Authorizer } from '../mercure/auth.js';
import { HUB_PATH } from '../mercure/paths.js';
import type { Presence } from '../mercure/presence.js';
import { admitPublisher, type PublisherState, publish } from '../mercure/publish.js';
import { publisherOf } from '../mercure/publisher.js';
import { admitSubscriber, type SubscribeContext, subscribe } from '../mercure/subscribe.js';
import { readSubscriptions } from '../mercure/subscriptions.js';
import { type BodyLimits, type BodyState, readText } from '../requests/body.js';
import { BodyBudget, PublisherBudgets } from '../requests/body-budget.js';
import { problems } from '../requests/problem.js';
import { isClientAbort } from '../sse/client-abort.js';
import type { SseContext, SseMiddleware } from '../sse/middleware.js';
import { admitReader, MAX_CHAT_BODY_BYTES, postMessage, readMessages } from './chat.js';
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
  readonly limits: Limits;
  /** What clients can cause again and again. */
  readonly log: SummedLog;
}

/** What the middleware notes of a request. */
type RequestState = ClientState & PublisherState & BodyState;

export function createApp(config: Config, parts: AppParts): Koa {
  const { events, feeds, hub, authorizer, presence, limits, log } = parts;
  const streams = limitStreams(limits);
  const bodies = new BodyBudget(config.MAX_BODIES_BYTES);
  // Every method that Node can parse is one the router knows: on a path of ours it is answered with 405.
  const router = new Router<RequestState, SubscribeContext>({ methods: METHODS });
  if (feeds.stream) router.get('/stream', streams, events, joins(feeds.stream));
  if (feeds.events) router.get('/events', streams, events, joins(feeds.events));
  if (feeds.counter) router.get('/counter', streams, events, joins(feeds.counter));
  if (feeds.chat) {
    const { chat } = feeds;
    router.get('/messages', admitReader(chat), streams, events, readMessages(chat));
    const readBody = readText(chatLimits(config, bodies));
    router.post('/message', limitChat(limits), readBody, postMessage(chat));
  }

  const admit = admitSubscriber(hub, authorizer, presence, config.ANONYMOUS);
  const templates = limitTemplates(limits, hub, config.MAX_TEMPLATE_COST);
  const budgets = new PublisherBudgets(bodies, config.MAX_BODIES_BYTES / 2);
  const readBody = readText({
    maxBytes: config.MAX_BODY_BYTES,
    budget: ({ state }) => budgets.of(publisherOf(state.grants).publisher),
  });
  const publishBody = publish(hub); // One for both paths: they share its memory of keys.
  for (const path of [HUB_PATH, '/hub']) {
    router.get(
      path,
      streams,
      admit,
      templates,
      events,
      limitSubjects(limits),
      subscribe(hub, presence),
    );
    router.post(path, admitPublisher(authorizer), limitPublishes(limits), readBody, publishBody);
    if (presence === undefined) continue;
    router.get(
      [`${path}/subscriptions`, `${path}/subscriptions/:topic{/:subscriber}`],
      discovery(),
      readSubscriptions(hub, authorizer, presence),
    );
  }

  router.get(['/', '/assets/:file'], discovery(), pageSecurity(), page(config.FEEDS));

  const app = new Koa();
  app.on('error', (error, ctx) => {
    // What clients do to their connections is no error of the service, and would fill its log.
    if (isClientAbort(error, ctx)) return;
    // Where a journal's error was met does not matter, and while it lasts every client meets it.
    if (error instanceof JournalError) log.add(error.code, error.message);
    else app.onerror(error);
  });
  app.use(identifyClient(limits));
  app.use(corsFor(config.CORS_ORIGINS));
  app.use(problems());
  app.use(limitRequests(limits));
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

/** Tells clients of the protocol where the hub is. */
function discovery(): Middleware {
  return function discovery(ctx, next) {
    ctx.append('Link', `<${HUB_PATH}>; rel="mercure"`);
    return next();
  };
}

function joins(feed: Feed): Middleware<object, SseContext> {
  return function join(ctx) {
    feed.join(ctx.eventStream);
  };
}
