// A generation that outlives its page: a POST starts it, any number of pages watch it, also from the middle on.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { json } from 'node:stream/consumers';
import Router from '@koa/router';
import Koa from 'koa';
import { sse } from 'koa-sse-hub';
import { Hub, openJournal, select } from 'koa-sse-hub/hub';
import { generate, ModelError } from './model.js';

const { PORT = 3000, HOST = '127.0.0.1', JOURNAL = 'lmdb:./data/tokens' } = process.env;
const MAX_BODY_BYTES = 16 * 1024;
const MAX_RUNNING = 20;
const NO_SUCH = 'There is no such generation.';
const DAY_MS = 24 * 60 * 60 * 1_000;

const journal = await openJournal(JOURNAL, { maxUpdates: 500_000, maxAgeMs: DAY_MS });
const hub = await Hub.open(journal);

// A generation that has no end was under way when the process was killed. Those who watch it are told. (Where several
// processes share a journal, it may be under way in another: then each needs topics of its own.)
for await (const topics of journal.topics()) {
  for (const topic of topics.filter((topic) => !hub.hasEnded(topic))) {
    const data = 'The server was restarted in the middle.';
    await hub.publish([{ topics: [topic], type: 'failure', data, last: true }]);
  }
}

/** What stops each generation that is under way. */
const running = new Map();

const router = new Router();

// What the address says becomes a topic: as {x} it would be a template, which selects the generations of all.
router.param('id', (id, ctx, next) => {
  if (!/^[0-9a-f-]{36}$/.test(id)) ctx.throw(404, NO_SUCH);
  return next();
});

router.post('/generations', async (ctx) => {
  const { prompt } = await readJson(ctx);
  if (typeof prompt !== 'string' || prompt.trim() === '') ctx.throw(400, 'prompt is missing.');
  if (running.size >= MAX_RUNNING) {
    ctx.throw(503, 'Too many generations are under way. Try again later.', {
      expose: true,
      headers: { 'Retry-After': '10' },
    });
  }
  // Nobody guesses it: whoever has it may watch, and stop, the generation.
  const id = randomUUID();
  const stop = new AbortController();
  running.set(id, stop);
  try {
    await hub.publish([{ topics: [topicOf(id)], type: 'prompt', data: prompt }]);
  } catch (error) {
    running.delete(id);
    throw error;
  }
  hub
    .stream(topicOf(id), generate(prompt, stop.signal), {
      signal: stop.signal,
      failure: (error) => ({
        data: error instanceof ModelError ? error.message : 'The server has failed.',
      }),
    })
    .catch((error) => console.error('A generation has failed.', error))
    .finally(() => running.delete(id));
  ctx.status = 202;
  ctx.body = { id };
});

router.delete('/generations/:id', (ctx) => {
  const stop = running.get(ctx.params.id);
  if (stop === undefined) ctx.throw(404, 'No such generation is under way.');
  stop.abort();
  ctx.status = 204;
});

router.get(
  '/generations/:id',
  async (ctx, next) => {
    const topic = topicOf(ctx.params.id);
    const selection = select([topic]);
    // A page that opens reads from the start; a browser that reconnects says where it was.
    const start = await hub.locate(ctx.get('Last-Event-ID') || 'earliest', selection);
    if (await hub.isOver(selection, start, ctx.res)) {
      ctx.status = 204; // It has had everything: an EventSource does not come back after this.
      return;
    }
    const [held] = await journal.newest([topic], { count: 1 });
    if (held.length === 0) ctx.throw(404, NO_SUCH);
    ctx.state.subscription = { selection, start };
    await next();
  },
  sse(),
  (ctx) => {
    const { selection, start } = ctx.state.subscription;
    hub.subscribe(ctx.eventStream, selection, { start });
  },
);

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
app.use(router.routes());
app.listen(PORT, HOST, () => console.log(`tokens listens on http://localhost:${PORT}`));

function topicOf(id) {
  return `generations/${id}`;
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
