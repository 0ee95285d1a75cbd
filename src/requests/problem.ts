import { STATUS_CODES } from 'node:http';
import type { Context, Middleware } from 'koa';
import { JournalError } from '../journal/journal.js';

/** RFC 9457, section 3.1. The type is the default one, `about:blank`: the status says it all. */
interface ProblemDocument {
  readonly title: string;
  readonly status: number;
  readonly detail: string;
}

/** Told of each error that is thrown, with what its request is answered. */
export type RefusalListener = (
  error: unknown,
  answer: { readonly status: number; readonly detail: string },
  ctx: Context,
) => void;

export interface ProblemsOptions {
  readonly onRefusal?: RefusalListener | undefined;
}

/**
 * Answers every error, thrown or left over as a bare status, with a problem document. A client's mistake
 * is told; the service's own is not, but goes to the app's `'error'` listeners.
 */
export function problems({ onRefusal }: ProblemsOptions = {}): Middleware {
  return async function problems(ctx, next) {
    try {
      await next();
      if (ctx.status >= 400 && ctx.body == null) answer(ctx, ctx.status, missing(ctx));
    } catch (error) {
      if (ctx.headerSent) throw error; // Too late for an answer; Koa reports it.
      const { status, detail, headers } = describe(error);
      onRefusal?.(error, { status, detail }, ctx);
      if (status >= 500) ctx.app.emit('error', error, ctx);
      ctx.set(headers);
      answer(ctx, status, detail);
    }
  };
}

/** The text of a problem document, for what is answered without a context. */
export function problemDocument(status: number, detail: string): string {
  const problem: ProblemDocument = { title: STATUS_CODES[status] ?? '', status, detail };
  return JSON.stringify(problem);
}

function answer(ctx: Context, status: number, detail: string): void {
  ctx.status = status;
  ctx.body = problemDocument(status, detail);
  ctx.type = 'application/problem+json';
}

/** What to say of a request that no route has answered. */
function missing(ctx: Context): string {
  if (ctx.status === 405) {
    return `${ctx.method} is not allowed here. Allowed: ${ctx.response.get('Allow')}.`;
  }
  return `There is nothing at ${ctx.path}.`;
}

/** What a thrown error tells the client. */
interface Description {
  readonly status: number;
  readonly detail: string;
  readonly headers: Record<string, string>;
}

/** What `ctx.throw` makes; anything else may have been thrown as well. */
interface ThrownError extends Description {
  readonly message: string;
  readonly expose: boolean;
}

/** The journal does not know what its keys are in HTTP. */
const KEY_TAKEN = 'This Idempotency-Key was used with another body: use a new one for each update.';

/** Seconds after which a publisher may try again. */
const RETRY_SECONDS = 5;

const OUTCOME_UNKNOWN =
  'Whether this was published is not known: the journal did not answer in time. It is safe to send it again with the ' +
  'same Idempotency-Key, or with the same id, if it had one: it is then published once.';

/**
 * Errors with a client's status, and others that say so, come from `ctx.throw`: their texts and headers are
 * written for the client. So are those of a journal that does not take an update.
 */
function describe(error: unknown): Description {
  if (error instanceof JournalError) {
    if (error.code === 'ERR_ID_TAKEN') return { status: 422, detail: error.message, headers: {} };
    if (error.code === 'ERR_KEY_TAKEN') return { status: 422, detail: KEY_TAKEN, headers: {} };
    if (error.code === 'ERR_TOPIC_ENDED')
      return { status: 409, detail: error.message, headers: {} };
    const isUnknown = error.code === 'ERR_JOURNAL_OUTCOME_UNKNOWN';
    const detail = isUnknown ? OUTCOME_UNKNOWN : error.message;
    return { status: 503, detail, headers: { 'Retry-After': String(RETRY_SECONDS) } };
  }
  const { status, message, expose, headers = {} } = error as Partial<ThrownError>;
  const isForClient = typeof status === 'number' && status >= 400 && (status < 500 || expose);
  if (isForClient) return { status, detail: String(message), headers };
  return { status: 500, detail: 'Something went wrong here; it has been logged.', headers: {} };
}
