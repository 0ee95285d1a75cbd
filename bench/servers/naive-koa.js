/**
 * Koa as most examples have it: a PassThrough for each client, the frame made anew for each of them, and what
 * `write` returns ignored.
 */
import { PassThrough } from 'node:stream';
import Koa from 'koa';

const app = new Koa();
app.silent = true;
const clients = new Set();
let sequence = 0;

app.use(async (ctx) => {
  if (ctx.method === 'POST') {
    let data = '';
    for await (const chunk of ctx.req) data += chunk;
    sequence += 1;
    for (const client of clients) client.write(`id: ${sequence}\ndata: ${data}\n\n`);
    ctx.status = 204;
    return;
  }
  const client = new PassThrough();
  client.on('close', () => clients.delete(client));
  ctx.type = 'text/event-stream';
  ctx.set('Cache-Control', 'no-cache');
  ctx.body = client;
  ctx.flushHeaders();
  clients.add(client);
});

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listens on port ${server.address().port}`);
});
process.on('SIGTERM', () => process.exit());
