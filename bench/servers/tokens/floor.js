/** The floor: bare `node:http`, `res.write` for each token, no back pressure. */
import { createServer } from 'node:http';
import { listen, tokens } from './source.js';

listen(
  createServer(async (request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
    for await (const token of tokens(request.url)) {
      if (response.destroyed) return;
      response.write(`data: ${token}\n\n`);
    }
    response.end();
  }),
);
