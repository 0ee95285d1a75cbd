/**
 * The floor: the least that Node can do. Bare `node:http`, one Buffer for all clients, `res.write` to each,
 * no back pressure, no journal, no token. What the others are compared with.
 */
import { createServer } from 'node:http';

const topics = new Map();
let sequence = 0;

const server = createServer((request, response) => {
  const topic = request.url.slice(1);
  if (request.method === 'GET') {
    if (!topics.has(topic)) topics.set(topic, new Set());
    const clients = topics.get(topic).add(response);
    response.on('close', () => clients.delete(response));
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
    response.flushHeaders();
    return;
  }
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    sequence += 1;
    const frame = Buffer.from(`id: ${sequence}\ndata: ${Buffer.concat(chunks)}\n\n`);
    for (const client of topics.get(topic) ?? []) client.write(frame);
    response.writeHead(204).end();
  });
});

server.listen(0, '127.0.0.1', () => console.log(`listens on port ${server.address().port}`));
process.on('SIGTERM', () => process.exit());
