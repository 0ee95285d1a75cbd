import type { ParameterizedContext } from 'koa';
import { EventStream } from './event-stream.js';

const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  // no-transform keeps compressing proxies and middleware from holding frames back,
  'Cache-Control': 'no-cache, no-transform',
  // and this does the same for nginx.
  'X-Accel-Buffering': 'no',
};

/** Sets what says of an answer that it is an event stream. */
export function setHeaders(ctx: ParameterizedContext): void {
  ctx.set(HEADERS);
  // HTTP/1.0 ends the body with the connection, and HTTP/2 has no such header: Node warns about it.
  if (ctx.req.httpVersion === '1.1') ctx.set('Connection', 'keep-alive');
}

/** Takes back, where nobody has said otherwise, what {@link setHeaders} has set: the answer is something else. */
export function takeBackHeaders(ctx: ParameterizedContext): void {
  const { body } = ctx;
  for (const [name, value] of Object.entries(HEADERS)) {
    if (ctx.response.get(name) === value) ctx.remove(name);
  }
  // Koa gives a body the type that it would have had. The stream itself will not be sent.
  if (body != null && !(body instanceof EventStream)) ctx.body = body;
}
