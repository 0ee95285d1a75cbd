/**
 * The hub's protocol as Koa middleware: tokens, publishing, subscribing, presence.
 *
 * @module koa-sse-hub/mercure
 */

export type { Grants } from '../auth/grants.js';
export { type KeySettings, readKeys, type TokenKeys } from '../auth/keys.js';
export type { RemoteKeysOptions } from '../auth/remote-keys.js';
export { BodyBudget } from '../requests/body-budget.js';
export { type Authorizer, type AuthorizerOptions, createAuthorizer } from './auth.js';
export { type MercureGuards, type MercureOptions, mercure } from './mercure.js';
export { HUB_PATH, SUBSCRIPTIONS_PATH } from './paths.js';
export { Presence, type PresenceOptions, type SubscriptionDocument } from './presence.js';
export type { PublisherState } from './publish.js';
export type { AnonymousRestriction } from './restrictions.js';
export type { SubscribeContext } from './subscribe.js';
