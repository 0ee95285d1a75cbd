/** koa-sse-hub's streams: `sse()` on Koa or `eventStreams()` on `node:http`, by `sendAll` or by `await stream.send`. */
import { createServer } from 'node:http';
import Koa from 'koa';
import { eventStreams, sse } from '../../../dist/index.js';
import { listen, sendsBy, tokens } from './source.js';

const handlers = {
  async sendAll(stream, url) {
    await stream.sendAll(tokens(url));
    stream.end();
  },
  async send(stream, url) {
    for await (const token of tokens(url)) if (!(await stream.send({ data: token }))) return;
    stream.end();
  },
};

const [front, way] = sendsBy().split('-');
const handler = handlers[way];

if (front === 'koa') {
  const app = new Koa();
  app.use(sse()).use(({ eventStream, url }) => handler(eventStream, url));
  listen(createServer(app.callback()));
} else {
  const events = eventStreams();
  listen(
    createServer((request, response) => {
      events.serve(request, response, (stream) => handler(stream, request.url));
    }),
  );
}
