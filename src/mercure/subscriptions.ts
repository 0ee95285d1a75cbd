import { Readable } from 'node:stream';
import type { Context, Middleware } from 'koa';
import type { Grants } from '../auth/grants.js';
import type { Hub } from '../hub/hub.js';
import { SharedTime } from '../time-slice.js';
import { covers } from '../topics/selector.js';
import { toAscii } from './ascii.js';
import { type Authorizer, refuseMissing, refuseScope } from './auth.js';
import type { Presence, SubscriptionDocument } from './presence.js';

const CONTEXT = { '@context': 'https://mercure.rocks/' };

/** `GET` of all active subscriptions, of those to a selector, or of one. */
export function readSubscriptions(
  hub: Hub,
  authorizer: Authorizer,
  presence: Presence,
): Middleware {
  return async function readSubscriptions(ctx) {
    const { topic, subscriber } = ctx.params as { topic?: string; subscriber?: string };
    const segments = [topic, subscriber].filter((segment) => segment !== undefined);
    const path = presence.pathOf(...segments);
    const { subscribe } = await authorize(ctx, authorizer, path);

    // Whoever may read subscriptions knows of their announcements; of other private updates it learns nothing.
    const isTold = (name: string) => name === path || name.startsWith(`${path}/`);
    const slice = reading.begin();
    const lastEventID = await hub.lastEventId(
      (update) =>
        !update.private || update.topics.some((name) => isTold(name) || covers(subscribe, name)),
      slice,
    );
    ctx.type = 'application/ld+json';
    ctx.status = 200;
    ctx.set({ 'Cache-Control': 'private, no-cache', ETag: `"${toAscii(lastEventID)}"` });
    if (ctx.fresh) {
      ctx.status = 304;
      return;
    }
    if (topic !== undefined && subscriber !== undefined) {
      const subscription = one(ctx, await presence.get(topic, subscriber));
      ctx.body = JSON.stringify({ ...CONTEXT, ...subscription, lastEventID });
    } else {
      const pages = presence.list(topic);
      // An error is answered as one, if there is one from the start.
      const first = await pages.next();
      ctx.body = Readable.from(collection({ id: path, lastEventID }, first, pages));
    }
  };
}

/** Of all who read subscriptions. */
const reading = new SharedTime();

/** Pieces have some so many characters. */
const PIECE_LENGTH = 32 * 1024;

/** A collection as JSON, piece by piece: there may be a hundred subscriptions of each client, with a payload each. */
async function* collection(
  about: { readonly id: string; readonly lastEventID: string },
  first: IteratorResult<SubscriptionDocument[]>,
  rest: AsyncIterator<SubscriptionDocument[]>,
): AsyncGenerator<string> {
  const slice = reading.begin();
  const { id, lastEventID } = about;
  const type = 'Subscriptions';
  const head = JSON.stringify({ ...CONTEXT, id, type, lastEventID, subscriptions: [] });
  let piece = head.slice(0, -']}'.length);
  let separator = '';
  for (let page = first; !page.done; page = await rest.next()) {
    for (const subscription of page.value) {
      if (slice.isOver) await slice.next();
      piece += separator + JSON.stringify(subscription);
      separator = ',';
      if (piece.length < PIECE_LENGTH) continue;
      yield piece;
      piece = '';
    }
    // Of many subscriptions, there may be few to this selector.
    if (slice.isOver) await slice.next();
  }
  yield `${piece}]}`;
}

/** The token's subscribe claim covers the path that is asked for: else 401 without a token, 403 with one. */
async function authorize(ctx: Context, authorizer: Authorizer, path: string): Promise<Grants> {
  const grants = await authorizer.subscriber(ctx);
  if (grants === undefined) refuseMissing(ctx, 'Reading subscriptions');
  if (!covers(grants.subscribe, path)) {
    refuseScope(ctx, `The token's subscribe claim does not cover ${path}.`);
  }
  return grants;
}

function one(ctx: Context, subscription: SubscriptionDocument | undefined): SubscriptionDocument {
  if (subscription === undefined) ctx.throw(404, 'There is no such active subscription.');
  return subscription;
}
