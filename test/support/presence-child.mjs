/** A node in a process of its own: the protocol over a journal in memory, and the roster whose URL and prefix are given. */
import Koa from 'koa';
import { Hub, openJournal } from '../../dist/hub/index.js';
import { openRedisRoster } from '../../dist/journal/redis/roster.js';
import { createAuthorizer, mercure, Presence, readKeys } from '../../dist/mercure/index.js';

const [url, prefix, timeoutMs] = process.argv.slice(2);
const hub = await Hub.open(await openJournal('memory:'));
const roster = await openRedisRoster(url, { prefix, timeoutMs: Number(timeoutMs) });
const presence = new Presence({
  roster,
  publish: (updates, options) => hub.publish(updates, options),
});
const authorizer = createAuthorizer({ keys: readKeys(process.env) });
new Koa().use(mercure({ hub, authorizer, presence, path: '/hub' })).listen(process.env.PORT);
