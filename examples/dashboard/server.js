// Gauges of this process and its machine. Each is published when it changes; a page that opens has all of them at once.
import { readFileSync } from 'node:fs';
import { freemem, loadavg, totalmem } from 'node:os';
import { extname } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import Koa from 'koa';
import { Hub, openJournal } from 'koa-sse-hub/hub';
import { createAuthorizer, mercure } from 'koa-sse-hub/mercure';

const { PORT = 3000, HOST = '127.0.0.1' } = process.env;
const PERIOD_MS = 1_000;

// Little history: who was away for long is shown what is new, and not a day of gauges one by one.
const hub = await Hub.open(await openJournal('memory:', { maxUpdates: 1_000 }));

const loopDelay = monitorEventLoopDelay();
loopDelay.enable();
const startedAt = new Date().toISOString();

/** The name of each gauge, and how it is read. */
const GAUGES = {
  load: () => loadavg()[0].toFixed(2),
  memory: () => (100 * (1 - freemem() / totalmem())).toFixed(0),
  delay: () => (loopDelay.percentile(99) / 1e6).toFixed(0),
  viewers: () => String(hub.statistics.subscriptions),
  started: () => startedAt, // Changes with each deployment: nobody who opens the page should wait for that.
};

const app = new Koa();
// Everybody may subscribe; without keys nobody may publish over HTTP.
app.use(mercure({ hub, authorizer: createAuthorizer({ keys: undefined }), path: '/updates' }));
for (const [path, name] of [
  ['/', 'page.html'],
  ['/page.js', 'page.js'],
  ['/page.css', 'page.css'],
]) {
  const file = readFileSync(new URL(name, import.meta.url));
  app.use((ctx, next) => {
    if (ctx.path !== path) return next();
    ctx.set('Content-Security-Policy', "default-src 'self'; img-src data:");
    ctx.type = extname(name);
    ctx.body = file;
  });
}
app.listen(PORT, HOST, () => console.log(`dashboard listens on http://localhost:${PORT}`));

const published = new Map();
for (let round = 0; ; round += 1) {
  // All of them once a minute, or the journal would trim what never changes, and nobody would find it any more.
  const isRepeat = round % 60 === 0;
  const updates = Object.entries(GAUGES)
    .map(([name, read]) => ({ topics: [`gauges/${name}`], type: name, data: read() }))
    .filter(({ type, data }) => isRepeat || published.get(type) !== data);
  if (updates.length > 0) await hub.publish(updates);
  for (const { type, data } of updates) published.set(type, data);
  loopDelay.reset();
  await delay(PERIOD_MS);
}
