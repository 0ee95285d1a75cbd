export type { Grants } from '../auth/grants.js';
export { type KeySettings, readKeys, type TokenKeys } from '../auth/keys.js';
export { type Authorizer, type AuthorizerOptions, createAuthorizer } from './auth.js';
export { type MercureGuards, type MercureOptions, mercure } from './mercure.js';
export { HUB_PATH, SUBSCRIPTIONS_PATH } from './paths.js';
export { Presence } from './presence.js';
export type { AnonymousRestriction } from './restrictions.js';
export type { SubscribeContext } from './subscribe.js';
