import type { Context, Middleware } from 'koa';

/** RFC 9457, section 3.1. The type is the default one, `about:blank`: the status says it all. */
interface ProblemDocument {
  readonly title: string;
  readonly status: number;
  readonly detail: string;
}

/**
 * Answers every error, thrown or left over as a bare status, with a problem document. A client's mistake
 * is told; the service's own is not, but goes to the app's `'error'` listeners.
 */
export function problems(): Middleware {
  return async function problems(ctx, next) {
    try {
      await next();
      if (ctx.status >= 400 && ctx.body == null) answer(ctx, ctx.status, missing(ctx));
    } catch (error) {
      if (ctx.headerSent) throw error; // Too late for an answer; Koa reports it.
      const { status, detail } = describe(error);
      if (status >= 500) ctx.app.emit('error', error, ctx);
      answer(ctx, status, detail);
    }
  };
}

function answer(ctx: Context, status: number, detail: string): void {
  ctx.status = status;
  const problem: ProblemDocument = { title: ctx.message, status, detail };
  ctx.body = JSON.stringify(problem);
  ctx.type = 'application/problem+json';
}

/** What to say of a request that no route has answered. */
function missing(ctx: Context): string {
  if (ctx.status === 405) {
    return `${ctx.method} is not allowed here. Allowed: ${ctx.response.get('Allow')}.`;
  }
  return `There is nothing at ${ctx.path}.`;
}

/** Errors with a client's status come from `ctx.throw`: their texts are written for the client. */
function describe(error: unknown): { status: number; detail: string } {
  const { status, message } = error as { status?: unknown; message?: unknown };
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return { status, detail: String(message) };
  }
  return { status: 500, detail: 'Something went wrong here; it has been logged.' };
}
