/** better-sse on `node:http`, as its documentation has it: a channel, sessions registered with it, `broadcast`. */
import { createServer } from 'node:http';
import { createChannel, createSession } from 'better-sse';

const channel = createChannel();

const server = createServer(async (request, response) => {
  if (request.method === 'GET') {
    channel.register(await createSession(request, response));
    return;
  }
  let data = '';
  for await (const chunk of request) data += chunk;
  channel.broadcast(data);
  response.writeHead(204).end();
});

server.listen(0, '127.0.0.1', () => console.log(`listens on port ${server.address().port}`));
process.on('SIGTERM', () => process.exit());
