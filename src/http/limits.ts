import { createHash } from 'node:crypto';
import type { Context, Middleware, ParameterizedContext } from 'koa';
import type { Grants } from '../auth/grants.js';
import type { Hub } from '../hub/hub.js';
import type { Client } from '../limits/connections.js';
import type { Limits } from '../limits/limits.js';
import { LimitError } from '../limits/refusal.js';
import type { SubscribeContext } from '../mercure/subscribe.js';
import { readToken } from '../mercure/token.js';

/** Seconds until some of the clients with templates are likely to have left. */
const RETRY_SECONDS = 10;

export interface ClientState {
  client: Client;
}

/** Finds out who asks: `ctx.ip`, for all that follows, the log among it. Stands above everything. */
export function identifyClient({ connections }: Limits): Middleware<ClientState> {
  return function identifyClient(ctx, next) {
    const { socket } = ctx.req;
    ctx.state.client = connections.clientOf(socket, ctx.headers);
    ctx.request.ip = ctx.state.client.address;
    // Whatever it is answered, it is one too many.
    if (connections.refusalOf(socket) !== undefined) ctx.set('Connection', 'close');
    return next();
  };
}

/** Refuses requests beyond a limit that any request counts for. Stands below what answers errors. */
export function limitRequests(limits: Limits): Middleware<ClientState> {
  const { connections } = limits;
  return function limitRequests(ctx, next) {
    const { client } = ctx.state;
    const refusal = connections.refusalOf(ctx.req.socket);
    if (refusal !== undefined) throw refusal;
    limits.take('RATE_REQUESTS', client.key);
    connections.holdRequest(ctx.req.socket, client, ctx.res);
    return next();
  };
}

/** Refuses new event streams beyond the rate of an address. Stands above `sse()`. */
export function limitStreams(limits: Limits): Middleware<ClientState> {
  return function limitStreams(ctx, next) {
    if (ctx.method === 'GET') limits.take('RATE_STREAMS', ctx.state.client.key);
    return next();
  };
}

/**
 * Refuses event streams of clients without a token whose templates are more than those of all may cost. Stands above
 * `sse()`. Strangers can use up what there is; those whom the operator has given a token shall not miss it.
 */
export function limitTemplates(
  hub: Hub,
  maxCost: number,
): Middleware<ClientState, SubscribeContext> {
  return function limitTemplates(ctx, next) {
    const { selection, grants } = ctx.subscriber;
    const hasTemplates = selection.selectors.some(({ kind }) => kind === 'template');
    if (
      grants === undefined &&
      hasTemplates &&
      maxCost > 0 &&
      !hub.allowsTemplates(selection, maxCost)
    ) {
      throw new LimitError(
        503,
        'MAX_TEMPLATE_COST',
        `The templates of all clients cost as much as they may (MAX_TEMPLATE_COST: ${maxCost}). Topics without a template are served, templates that are in use, and clients with a token.`,
        RETRY_SECONDS,
      );
    }
    return next();
  };
}

/** Refuses event streams beyond those that the subject of a token may have. Stands below `sse()`. */
export function limitSubjects(limits: Limits): Middleware<ClientState, SubscribeContext> {
  return function limitSubjects(ctx, next) {
    const subject = ctx.subscriber.grants?.subject;
    if (subject !== undefined) limits.connections.holdStream(subject, ctx.eventStream);
    return next();
  };
}

/** Refuses messages of the chat beyond the rate of an address. */
export function limitChat(limits: Limits): Middleware<ClientState> {
  return function limitChat(ctx, next) {
    limits.take('RATE_CHAT', ctx.state.client.key);
    return next();
  };
}

/**
 * Refuses updates beyond the rate of a token. Stands below what has verified it, and above what reads the body.
 *
 * Publishing has a rate of its own, and is not limited by address: a back end may publish ten thousand updates
 * a second, and many of them may stand behind one address.
 */
export function limitPublishes(limits: Limits): Middleware<ClientState & { grants: Grants }> {
  return function limitPublishes(ctx, next) {
    const isLimited = limits.hasRate('RATE_PUBLISHES');
    const key = isLimited ? publisherKey(ctx, ctx.state.grants) : undefined;
    limits.take('RATE_PUBLISHES', key);
    return next().then(() => {
      // One that was refused still counts: its sender may try for ever.
      limits.giveBack('RATE_REQUESTS', ctx.state.client.key);
      // How many updates the body has held is known only now.
      if (Array.isArray(ctx.body)) limits.charge('RATE_PUBLISHES', key, ctx.body.length - 1);
    });
  };
}

/** Tokens of one subject share a rate. Of others the digest is kept: a token has up to 8,192 bytes, and is secret. */
function publisherKey(ctx: ParameterizedContext, { subject }: Grants): string {
  if (subject !== undefined) return `subject ${subject}`;
  const text = readToken(ctx as Context)?.text ?? '';
  return `token ${createHash('sha256').update(text).digest('base64')}`;
}
