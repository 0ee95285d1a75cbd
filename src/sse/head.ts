import type { ServerResponse } from 'node:http';
import type { Exchange } from './request.js';

const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  // no-transform keeps compressing proxies and middleware from holding frames back,
  'Cache-Control': 'no-cache, no-transform',
  // and this does the same for nginx.
  'X-Accel-Buffering': 'no',
};

/** Sets what says of an answer that it is an event stream. */
export function setHeaders({ req, res }: Exchange): void {
  if (res.headersSent) return;
  for (const [name, value] of Object.entries(HEADERS)) res.setHeader(name, value);
  // HTTP/1.0 ends the body with the connection, and HTTP/2 has no such header: Node warns about it.
  if (req.httpVersion === '1.1') res.setHeader('Connection', 'keep-alive');
}

/** Takes back, where nobody has said otherwise, what {@link setHeaders} has set: the answer is something else. */
export function takeBackHeaders(res: ServerResponse): void {
  if (res.headersSent) return;
  for (const [name, value] of Object.entries(HEADERS)) {
    if (res.getHeader(name) === value) res.removeHeader(name);
  }
}
