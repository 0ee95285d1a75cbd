// A job whose progress is watched: cancelled when nobody watches any more, and over for good when it has ended.
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { json } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import Router from '@koa/router';
import Koa from 'koa';
import { sse } from 'koa-sse-hub';
import { Hub, openJournal, select } from 'koa-sse-hub/hub';

const { PORT = 3000, HOST = '127.0.0.1' } = process.env;
/** A page that is reloaded is back within this time, and so is a browser whose connection broke. */
const GRACE_MS = Number(process.env.GRACE_MS ?? 10_000);
const STEP_MS = 25;
const MAX_JOBS = 10;
const MAX_STEPS = 1_000;
const MAX_BODY_BYTES = 1_024;
const NO_SUCH = 'There is no such job.';

// In memory: the jobs, too, end with the process. An hour is more than enough for those who come back.
const journal = await openJournal('memory:', { maxUpdates: 50_000, maxAgeMs: 60 * 60 * 1_000 });
const hub = await Hub.open(journal);

/** A job that is under way, and who watches it. */
class Job {
  static running = new Map();
  #abort = new AbortController();
  #watchers = 0;
  #grace;

  constructor(id, steps) {
    Job.running.set(id, this);
    this.#startGrace();
    const { signal } = this.#abort;
    // Ends the topic with an update `end`, `failure` or, when it was aborted, `cancelled`.
    this.published = hub
      .stream(topicOf(id), work(steps, signal), { signal })
      .then(({ outcome }) => console.log(`A job has been ${outcome}.`))
      .catch((error) => console.error('A job has failed.', error))
      .finally(() => {
        clearTimeout(this.#grace);
        Job.running.delete(id);
      });
  }

  addWatcher(stream) {
    if (!stream.writable) return; // It has closed already.
    this.#watchers += 1;
    clearTimeout(this.#grace);
    stream.once('close', () => {
      this.#watchers -= 1;
      if (this.#watchers === 0) this.#startGrace();
    });
  }

  #startGrace() {
    this.#grace = setTimeout(() => this.#abort.abort(), GRACE_MS);
  }
}

/** Stands for work that takes its time. What it yields is published; it is closed when the job is aborted. */
async function* work(steps, signal) {
  let result = '';
  for (let done = 0; done < steps; done += 1) {
    yield { type: 'progress', data: JSON.stringify({ done, steps }) };
    result = createHash('sha256').update(result).digest('hex');
    await delay(STEP_MS, undefined, { signal });
  }
  yield { type: 'progress', data: JSON.stringify({ done: steps, steps }) };
  yield { type: 'result', data: result };
}

const router = new Router();

// What the address says becomes a topic: as {x} it would be a template, which selects the jobs of all.
router.param('id', (id, ctx, next) => {
  if (!/^[0-9a-f-]{36}$/.test(id)) ctx.throw(404, NO_SUCH);
  return next();
});

router.post('/jobs', async (ctx) => {
  const { steps } = await readJson(ctx);
  if (!Number.isInteger(steps) || steps < 1 || steps > MAX_STEPS) {
    ctx.throw(400, `steps is a whole number from 1 to ${MAX_STEPS}.`);
  }
  if (Job.running.size >= MAX_JOBS) {
    ctx.throw(503, 'Too many jobs are under way. Try again later.', {
      expose: true,
      headers: { 'Retry-After': '10' },
    });
  }
  const id = randomUUID();
  new Job(id, steps);
  ctx.status = 202;
  ctx.body = { id };
});

router.get(
  '/jobs/:id',
  async (ctx, next) => {
    const { id } = ctx.params;
    const selection = select([topicOf(id)]);
    // A page that opens reads from the start; a browser that reconnects says where it was.
    const start = await hub.locate(ctx.get('Last-Event-ID') || 'earliest', selection);
    if (await hub.isOver(selection, start, ctx.res)) {
      ctx.status = 204; // It has had everything: an EventSource does not come back after this.
      return;
    }
    if (!Job.running.has(id) && !hub.hasEnded(topicOf(id))) ctx.throw(404, NO_SUCH);
    ctx.state.subscription = { selection, start };
    await next();
  },
  sse(),
  (ctx) => {
    const { selection, start } = ctx.state.subscription;
    hub.subscribe(ctx.eventStream, selection, { start });
    Job.running.get(ctx.params.id)?.addWatcher(ctx.eventStream);
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
app.listen(PORT, HOST, () => console.log(`jobs listens on http://localhost:${PORT}`));

function topicOf(id) {
  return `jobs/${id}`;
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
