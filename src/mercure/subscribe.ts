import type { Context, Middleware } from 'koa';
import type { Grants } from '../auth/grants.js';
import type { Hub } from '../hub/hub.js';
import type { Gap, Start } from '../hub/subscription.js';
import type { EventStream } from '../sse/event-stream.js';
import type { SseContext } from '../sse/middleware.js';
import { MAX_TIMER_MS } from '../sse/options.js';
import { readLastEventId } from '../sse/request.js';
import { Selection } from '../topics/selection.js';
import { compileSelector, type Selector, SelectorError } from '../topics/selector.js';
import { toAscii } from './ascii.js';
import { type Authorizer, refuseMissing } from './auth.js';
import type { Presence } from './presence.js';
import type { AnonymousRestriction } from './restrictions.js';

const MAX_SELECTORS = 100;
/** Of all templates together: what it costs to match a topic goes with them. */
const MAX_VARIABLES = 100;
/** In units of `Selector.cost`: 100 templates like `https://example.com/books/{id}`, or a few very costly ones. */
const MAX_COST = 1_500;

/** How long a client whose token has ended may take for its last bytes. */
const EXPIRY_GRACE_MS = 1_000;

/** What is known of a subscriber before its stream is opened. */
export interface SubscribeContext extends SseContext {
  /** What is known of the subscriber. */
  subscriber: {
    /** What it asked for and may see. */
    readonly selection: Selection;
    /** What its token grants; undefined for one without a token. */
    readonly grants: Grants | undefined;
    /** Where it reads on from; undefined: from now on. */
    readonly start: Start | undefined;
    /** What is told of a cursor that is not read on from. */
    readonly gap: Gap | undefined;
    /** It gets nothing of before its stream was opened. */
    readonly isPastWithheld: boolean;
    /** Whether it first gets the newest update of each topic. */
    readonly latest: boolean;
  };
}

/** Checks everything that can be refused: the selectors, the token and the cursor. Stands above `sse()`. */
export function admitSubscriber(
  hub: Hub,
  authorizer: Authorizer,
  presence: Presence | undefined,
  restrictions: ReadonlySet<AnonymousRestriction> | undefined,
): Middleware<object, SubscribeContext> {
  return async function admitSubscriber(ctx, next) {
    const selectors = selectorsOf(ctx);
    if (presence) requireAnnounceable(ctx, presence, selectors);
    const grants = await authorizer.subscriber(ctx);
    const withheld = grants === undefined ? restrictions : undefined;
    const latest = ctx.query.latest === '1';
    if (withheld?.has('no-templates') && selectors.some(({ kind }) => kind === 'template')) {
      refuseMissing(ctx, 'Subscribing with a URI template');
    }
    if (withheld?.has('no-latest') && latest) refuseMissing(ctx, 'Subscribing with latest=1');
    const cursor = readLastEventId(ctx.req);
    const selection = new Selection(selectors, grants?.subscribe ?? []);
    // Browsers send a cursor by themselves, and do not come back after a 401: so the stream opens, and says so.
    const isPastWithheld = withheld?.has('no-replay') === true;
    const isCursorWithheld = cursor !== '' && isPastWithheld;
    const located = cursor === '' ? undefined : await hub.locate(cursor, selection);
    if (located && (await hub.isOver(selection, located, ctx.res))) {
      stopForGood(ctx);
      return;
    }
    const start = isPastWithheld ? undefined : located;
    if (start) ctx.set('Last-Event-ID', toAscii(start.lastEventID));
    ctx.subscriber = {
      selection,
      grants,
      start,
      gap: isCursorWithheld ? { lastEventID: cursor, reason: 'withheld' } : undefined,
      isPastWithheld,
      latest,
    };
    return next(); // Not awaited: what is known here is not kept for as long as the stream is open.
  };
}

/** Hands the open stream to the hub, until it closes or its token ends. Stands below `sse()`. */
export function subscribe(
  hub: Hub,
  presence: Presence | undefined,
): Middleware<object, SubscribeContext> {
  return function subscribe(ctx) {
    const { eventStream: stream } = ctx;
    const { selection, grants, start, gap, isPastWithheld, latest } = ctx.subscriber;
    const identity = grants?.subject === undefined ? ctx.ip : `${ctx.ip} ${grants.subject}`;
    hub.subscribe(stream, selection, { start, gap, withheld: isPastWithheld, latest, identity });
    if (grants !== undefined) endWithToken(stream, grants);
    presence?.start(stream, selection.selectors, grants);
  };
}

/** Answers a client that has had everything and comes back: nothing of its topics will come. */
function stopForGood(ctx: Context): void {
  // HTML, section 9.2.1: "Clients will reconnect if the connection is closed; a client can be told to stop reconnecting
  // using the HTTP 204 No Content response code."
  ctx.status = 204;
  ctx.set('Cache-Control', 'no-store'); // The topic may be reopened.
}

/** Ends a stream when its token does, or the key that the token was verified with. */
function endWithToken(stream: EventStream, { expiresAt, onKeyWithdrawn }: Grants): void {
  // Its client has gone already, and nobody would tell the timers.
  if (stream.destroyed) return;
  const end = () => {
    stream.end();
    // One that does not read would keep it open.
    setTimeout(() => stream.destroy(), EXPIRY_GRACE_MS).unref();
  };
  if (expiresAt !== undefined) stream.on('close', callAt(expiresAt, end).cancel);
  if (onKeyWithdrawn !== undefined) stream.on('close', onKeyWithdrawn(end));
}

function selectorsOf(ctx: Context): Selector[] {
  const texts = [ctx.query.topic ?? []].flat();
  if (texts.length === 0) {
    ctx.throw(400, 'topic is missing from the query: name at least one, or * for all.');
  }
  if (texts.length > MAX_SELECTORS) {
    ctx.throw(400, `topic is given more than the ${MAX_SELECTORS} times allowed.`);
  }
  try {
    const selectors = texts.map(compileSelector);
    const variables = selectors.reduce((sum, selector) => sum + selector.variables, 0);
    if (variables > MAX_VARIABLES) {
      ctx.throw(400, `topic: the templates have more than the ${MAX_VARIABLES} variables allowed.`);
    }
    const cost = selectors.reduce((sum, selector) => sum + selector.cost, 0);
    if (cost > MAX_COST) {
      ctx.throw(
        400,
        `topic: to match the templates costs ${cost}, more than the ${MAX_COST} allowed: use fewer variables, shorter names and texts, and no prefixes like {x:99}.`,
      );
    }
    return selectors;
  } catch (error) {
    if (error instanceof SelectorError) ctx.throw(400, `topic: ${error.message}`);
    throw error;
  }
}

/** The start and end of a subscription are updates whose topic has the selector in it. */
function requireAnnounceable(
  ctx: Context,
  presence: Presence,
  selectors: readonly Selector[],
): void {
  const tooLong = selectors.find(({ text }) => !presence.canAnnounce(text));
  if (tooLong === undefined) return;
  ctx.throw(
    400,
    `topic: ${JSON.stringify(tooLong.text)} is too long for its subscription to be announced: ` +
      `percent-encoded it may have ${presence.maxSelectorBytes} bytes.`,
  );
}

/** Calls back at a moment that may be farther away than timers reach. */
function callAt(moment: number, callback: () => void): { cancel: () => void } {
  let timer: NodeJS.Timeout;
  const schedule = () => {
    const delay = moment - Date.now();
    timer =
      delay > MAX_TIMER_MS
        ? setTimeout(schedule, MAX_TIMER_MS).unref()
        : setTimeout(callback, Math.max(0, delay)).unref();
  };
  schedule();
  return { cancel: () => clearTimeout(timer) };
}
