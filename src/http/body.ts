import { bodyParser } from '@koa/bodyparser';
import type { Middleware } from 'koa';

type BodyParserOptions = NonNullable<Parameters<typeof bodyParser>[0]>;

/** Parses a JSON or form body into `ctx.request.body`. */
export function parseBody(maxBytes: number): Middleware {
  return bodyParser({ jsonLimit: maxBytes, formLimit: maxBytes, ...onError(maxBytes) });
}

/** Reads a body of one of these types into `ctx.request.body`, as text. */
export function readText(maxBytes: number, types: string[]): Middleware {
  return bodyParser({
    enableTypes: ['text'],
    extendTypes: { text: types },
    textLimit: maxBytes,
    ...onError(maxBytes),
  });
}

/** Whatever is wrong with a body is its sender's mistake. */
function onError(maxBytes: number): Pick<BodyParserOptions, 'onError'> {
  return {
    onError(error, ctx) {
      if ('type' in error && error.type === 'entity.too.large') {
        ctx.throw(413, `The body is larger than the ${maxBytes} bytes allowed.`);
      }
      if (error instanceof SyntaxError) {
        ctx.throw(400, `The body is not valid JSON: ${error.message}`);
      }
      ctx.throw(400, `The body cannot be read: ${error.message}`);
    },
  };
}
