import { METHODS } from 'node:http';
import Router from '@koa/router';
import type { Middleware } from 'koa';
import type { Hub } from '../hub/hub.js';
import { readText } from '../requests/body.js';
import { BodyBudget, PublisherBudgets } from '../requests/body-budget.js';
import { problems } from '../requests/problem.js';
import { type SseMiddleware, sse } from '../sse/middleware.js';
import type { Authorizer } from './auth.js';
import { discovery } from './discovery.js';
import { HUB_PATH } from './paths.js';
import type { Presence } from './presence.js';
import { admitPublisher, type PublisherState, publish } from './publish.js';
import { publisherOf } from './publisher.js';
import type { AnonymousRestriction } from './restrictions.js';
import { admitSubscriber, type SubscribeContext, subscribe } from './subscribe.js';
import { readSubscriptions } from './subscriptions.js';

/** The options of {@link mercure}. */
export interface MercureOptions<State = object> {
  /** What is subscribed to and published by. It stays the caller's to close. */
  readonly hub: Hub;
  /** Finds out what a request's sender may do. */
  readonly authorizer: Authorizer;
  /** Where active subscriptions are told; without it nobody is to know. */
  readonly presence?: Presence | undefined;
  /** Where the hub is found; at the first of several paths, clients are told. Default: `/.well-known/mercure`. */
  readonly path?: string | readonly [string, ...string[]];
  /** The `sse()` middleware of the streams. Default: one of its own, with the defaults of `sse()`. */
  readonly events?: SseMiddleware;
  /** What clients without a token go without, if the authorizer lets them subscribe. Default: nothing. */
  readonly withheld?: ReadonlySet<AnonymousRestriction> | undefined;
  /** The largest body of a publisher, in bytes, after decompression. Default: 1 MiB. */
  readonly maxBodyBytes?: number;
  /** What all bodies hold together, of which each publisher's may hold a half. Default: 64 MiB of its own. */
  readonly bodies?: BodyBudget;
  /** The app's own middleware in this room, such as limits. */
  readonly guards?: MercureGuards<State>;
  /** Throws errors, for middleware above that answers them. Default: they are answered here, as problem documents. */
  readonly throwsErrors?: boolean;
}

/** Middleware at the places where a request can be refused. Each goes on by its `next`. */
export interface MercureGuards<State = object> {
  /** Before anything is known of a subscriber, as before anything costs much. */
  readonly arrival?: Middleware<State>;
  /** When a subscriber is admitted, and before its stream opens. */
  readonly subscriber?: Middleware<State, SubscribeContext>;
  /** When its stream has opened, and before it is subscribed. */
  readonly stream?: Middleware<State, SubscribeContext>;
  /** When a publisher is admitted, and before its body is read. */
  readonly publisher?: Middleware<State & PublisherState>;
}

const MAX_BODY_BYTES = 1024 * 1024;
const MAX_BODIES_BYTES = 64 * 1024 * 1024;

/**
 * The hub, spoken to by the Mercure protocol: subscribing, publishing and, with presence, who is subscribed. All
 * other requests go on to the next middleware.
 */
export function mercure<State extends object = object>(
  options: MercureOptions<State>,
): Middleware<State> {
  const { hub, authorizer, presence, withheld, guards = {}, throwsErrors = false } = options;
  const { path = HUB_PATH, events = sse() } = options;
  const { maxBodyBytes = MAX_BODY_BYTES, bodies = new BodyBudget(MAX_BODIES_BYTES) } = options;
  const budgets = new PublisherBudgets(bodies, bodies.maxBytes / 2);
  const paths = [path].flat();
  // Every method that Node can parse is one the router knows: on a path of ours it is answered with 405.
  const router = new Router<State & PublisherState, SubscribeContext>({ methods: METHODS });
  router.get(
    paths,
    ...given(
      guards.arrival,
      admitSubscriber(hub, authorizer, presence, withheld),
      guards.subscriber,
      events,
      guards.stream,
      subscribe(hub, presence),
    ),
  );
  router.post(
    paths,
    ...given(
      admitPublisher(authorizer),
      guards.publisher,
      readText({
        maxBytes: maxBodyBytes,
        budget: ({ state }) => budgets.of(publisherOf(state.grants).publisher),
      }),
      publish(hub),
    ),
  );
  if (presence !== undefined) {
    router.get(
      paths.flatMap((hubPath) => [
        `${hubPath}/subscriptions`,
        `${hubPath}/subscriptions/:topic{/:subscriber}`,
      ]),
      discovery(paths[0]),
      readSubscriptions(hub, authorizer, presence),
    );
  }

  // What its own middleware notes in the state is there by the time it is read.
  const routes = router.routes() as Middleware as Middleware<State>;
  const refuseMethods = router.allowedMethods() as Middleware as Middleware<State>;
  const answerErrors = throwsErrors ? undefined : problems();
  return function mercure(ctx, next) {
    const route = () => routes(ctx, () => refuseMethods(ctx, next));
    if (answerErrors === undefined) return route();
    // The errors of other paths are not ours to answer.
    const isHere = router.match(ctx.path, ctx.method).path.length > 0;
    return isHere ? answerErrors(ctx, route) : next();
  };
}

function given<T>(...middleware: readonly (T | undefined)[]): T[] {
  return middleware.filter((one) => one !== undefined);
}
