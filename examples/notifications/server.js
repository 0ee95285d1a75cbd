// Notifications that only their user receives: a login sets a cookie, and the hub takes its token from that.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { json } from 'node:stream/consumers';
import Router from '@koa/router';
import { SignJWT } from 'jose';
import Koa from 'koa';
import { Hub, openJournal } from 'koa-sse-hub/hub';
import { createAuthorizer, mercure, readKeys } from 'koa-sse-hub/mercure';

const { PORT = 3000, HOST = '127.0.0.1', JOURNAL = 'memory:' } = process.env;
// Without a key of your own, all logins end with the process.
const { JWT_KEY = randomBytes(32).toString('base64url') } = process.env;
const LOGIN_SECONDS = 60 * 60;
const MAX_BODY_BYTES = 4 * 1024;
const MAX_TEXT_LENGTH = 500;
const MAX_ID_LENGTH = 64;

const hub = await Hub.open(await openJournal(JOURNAL, { maxUpdates: 10_000 }));
const authorizer = createAuthorizer({ keys: readKeys({ JWT_KEY }), anonymous: false });

const router = new Router();

/** Stands for a login of your own, which asks for more than a name. */
router.post('/login', async (ctx) => {
  const user = userName(ctx, (await readJson(ctx)).user);
  const token = await new SignJWT({ mercure: { subscribe: [topicOf(user)] } })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(user)
    .setExpirationTime(`${LOGIN_SECONDS}s`)
    .sign(Buffer.from(JWT_KEY));
  // No script reads it, and no page of another site has it sent along.
  ctx.cookies.set('mercureAuthorization', token, {
    httpOnly: true,
    sameSite: 'strict',
    secure: ctx.secure,
    maxAge: LOGIN_SECONDS * 1_000,
  });
  ctx.body = { user, topic: topicOf(user) };
});

router.post('/logout', (ctx) => {
  ctx.cookies.set('mercureAuthorization', null);
  ctx.status = 204;
});

router.get('/me', async (ctx) => {
  const user = await currentUser(ctx);
  ctx.body = { user, topic: topicOf(user) };
});

router.post('/notifications', async (ctx) => {
  const from = await currentUser(ctx);
  const { to, text } = await readJson(ctx);
  const user = userName(ctx, to);
  if (typeof text !== 'string' || text === '' || text.length > MAX_TEXT_LENGTH) {
    ctx.throw(400, `text has 1 to ${MAX_TEXT_LENGTH} characters.`);
  }
  await publish(user, 'notification', JSON.stringify({ from, text }), from);
  ctx.status = 204;
});

/** That the user has read the notifications up to one is told as they are: so all pages of the user know it. */
router.post('/read', async (ctx) => {
  const user = await currentUser(ctx);
  const { through } = await readJson(ctx);
  if (typeof through !== 'string' || through === '' || through.length > MAX_ID_LENGTH) {
    ctx.throw(400, `through is the id of a notification, of at most ${MAX_ID_LENGTH} characters.`);
  }
  await publish(user, 'read', through, user);
  ctx.status = 204;
});

for (const [path, name, type] of [
  ['/', 'page.html', 'html'],
  ['/page.js', 'page.js', 'js'],
  ['/page.css', 'page.css', 'css'],
]) {
  const file = readFileSync(new URL(name, import.meta.url));
  router.get(path, (ctx) => {
    ctx.set('Content-Security-Policy', "default-src 'self'; img-src data:");
    ctx.type = type;
    ctx.body = file;
  });
}

const app = new Koa();
app.use(mercure({ hub, authorizer, path: '/updates' }));
app.use(router.routes());
app.listen(PORT, HOST, () => console.log(`notifications listens on http://localhost:${PORT}`));

function topicOf(user) {
  return `/users/${user}/notifications`;
}

/** Whoever floods others pushes out updates of their own first: they count to the publisher's share. */
function publish(user, type, data, publisher) {
  return hub.publish([{ topics: [topicOf(user)], type, data, private: true, publisher }]);
}

/** Whose cookie came with a request; 401 without a good one. */
async function currentUser(ctx) {
  const grants = await authorizer.subscriber(ctx);
  return grants.subject;
}

function userName(ctx, name) {
  if (typeof name === 'string' && /^[a-z0-9-]{1,32}$/.test(name)) return name;
  ctx.throw(400, 'A user name has 1 to 32 of the characters a-z, 0-9 and -.');
}

async function readJson(ctx) {
  // What no form of another site can send.
  if (!ctx.is('application/json')) ctx.throw(415, 'Send JSON, as application/json.');
  // Nothing is read of a body that does not say how long it is.
  if (ctx.request.length === undefined) ctx.throw(411, 'Content-Length is missing.');
  if (ctx.request.length > MAX_BODY_BYTES) {
    ctx.throw(413, `A body has at most ${MAX_BODY_BYTES} bytes.`);
  }
  try {
    return Object(await json(ctx.req));
  } catch {
    ctx.throw(400, 'The body is no JSON.');
  }
}
