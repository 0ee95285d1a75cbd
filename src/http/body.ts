import { bodyParser } from '@koa/bodyparser';
import type { Middleware } from 'koa';

/** Parses a JSON or form body into `ctx.request.body`. Whatever is wrong with one is its sender's mistake. */
export function parseBody(maxBytes: number): Middleware {
  return bodyParser({
    jsonLimit: maxBytes,
    formLimit: maxBytes,
    onError(error, ctx) {
      if ('type' in error && error.type === 'entity.too.large') {
        ctx.throw(413, `The body is larger than the ${maxBytes} bytes allowed.`);
      }
      if (error instanceof SyntaxError) {
        ctx.throw(400, `The body is not valid JSON: ${error.message}`);
      }
      ctx.throw(400, `The body cannot be read: ${error.message}`);
    },
  });
}
