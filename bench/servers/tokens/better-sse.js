/** better-sse on `node:http`, as its documentation has it: a session, `push` for each token. */
import { createServer } from 'node:http';
import { createSession } from 'better-sse';
import { listen, tokens } from './source.js';

listen(
  createServer(async (request, response) => {
    const session = await createSession(request, response);
    for await (const token of tokens(request.url)) {
      if (!session.isConnected) return;
      session.push(token);
    }
    response.end();
  }),
);
