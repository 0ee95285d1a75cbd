/** Koa as most examples have it: a PassThrough, and what `write` returns ignored. */
import { createServer } from 'node:http';
import { PassThrough } from 'node:stream';
import Koa from 'koa';
import { listen, tokens } from './source.js';

const app = new Koa();
app.silent = true;
app.use((ctx) => {
  const stream = new PassThrough();
  ctx.type = 'text/event-stream';
  ctx.set('Cache-Control', 'no-cache');
  ctx.body = stream;
  send(stream, ctx.url);
});

async function send(stream, url) {
  for await (const token of tokens(url)) {
    if (stream.destroyed) return;
    stream.write(`data: ${token}\n\n`);
  }
  stream.end();
}

listen(createServer(app.callback()));
