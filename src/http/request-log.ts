import type { Context, Middleware, Next } from 'koa';
import type { Limits } from '../limits/limits.js';
import { LimitError } from '../limits/refusal.js';
import type { LeveledLog, Log, LogLevel } from '../log.js';
import type { RefusalListener } from '../requests/problem.js';
import type { SseOptions } from '../sse/open-streams.js';

/**
 * Tells the operator of each event stream when it has closed. Its line is that of its request, too.
 *
 * @param isWritten whether anybody reads of streams that have not failed.
 */
export function logStreams(
  log: Log,
  { connections }: Limits,
  isWritten: () => boolean,
): Required<SseOptions>['onClose'] {
  return (_, { reason, duration, bytes, events, error }, request) => {
    if (reason !== 'failed' && !isWritten()) return;
    // Over HTTP/1.1, as the server of the service has it, the request has the socket.
    const { address } = connections.clientOf(request.socket, request.headers);
    const path = pathOf(request.url);
    const durationMs = Math.round(duration);
    log({
      level: reason === 'failed' ? 'warn' : 'info',
      event: reason === 'failed' ? 'stream-failed' : 'stream-closed',
      message: `${address} ${path}: the stream ${SAID[reason]} after ${durationMs / 1_000} s, ${events} events, ${bytes} bytes.`,
      client: address,
      path,
      reason,
      durationMs,
      events,
      bytes,
      ...(error && { error }),
    });
  };
}

/**
 * Tells the operator of requests that are refused for a limit, or for their token. Strangers can cause them at will, so
 * the log sums them up.
 */
export function logRefusals(log: Log, limits: Limits): RefusalListener {
  return (error, { status, detail }, ctx) => {
    if (error instanceof LimitError) {
      limits.tell(ctx.ip, error);
      return;
    }
    if (status !== 401 && status !== 403) return;
    // A connection that has closed has no address any more.
    const { method } = ctx;
    const client = ctx.ip || 'a client that has gone';
    const path = pathOf(ctx.url);
    const why = shortened(detail);
    log({
      level: 'warn',
      event: `refused-${status}`,
      message: `${client} is refused: ${method} ${path} is answered ${status}. ${why}`,
      client,
      method,
      path,
      status,
      detail: why,
    });
  };
}

/**
 * Writes a line for each request that was answered, or whose client has gone before; not for event streams, which have
 * one when they close. Stands above everything.
 *
 * @param level of the lines. What the log does not write of it costs nothing.
 */
export function logRequests(log: LeveledLog, level: LogLevel): Middleware {
  return function logRequests(ctx, next) {
    return log.writes(level) ? followRequest(log, level, ctx, next) : next();
  };
}

/** Tells of an error that is the service's own: a bug. */
export function logFailure(log: Log, error: unknown, ctx: Context | undefined): void {
  const { status, expose } = error as { status?: unknown; expose?: unknown };
  // What its client is told is a refusal, and no failure.
  if (status === 404 || expose === true) return;
  const request = ctx ? `${ctx.method} ${pathOf(ctx.url)}` : 'A request';
  log({
    level: 'error',
    event: 'request-failed',
    message: `${request} has failed: ${error instanceof Error ? error.message : String(error)}`,
    error,
    stack: error instanceof Error ? error.stack : undefined,
  });
}

const SAID = {
  ended: 'was ended',
  left: 'was left',
  failed: 'failed',
  cut: 'was cut off',
  unused: 'was not used',
} as const;

/** The status of a request whose client has gone before it was answered: nginx's number for it. */
const CLIENT_GONE = 499;

async function followRequest(
  log: LeveledLog,
  level: LogLevel,
  ctx: Context,
  next: Next,
): Promise<void> {
  const begun = performance.now();
  const { res } = ctx;
  const tell = () => {
    const durationMs = Math.round((performance.now() - begun) * 10) / 10;
    const path = pathOf(ctx.req.url);
    const { ip: client, method } = ctx;
    const status = res.writableFinished ? res.statusCode : CLIENT_GONE;
    const bytes = res.writableFinished ? (ctx.length ?? 0) : 0;
    log({
      level,
      event: 'request',
      message: `${client} ${method} ${path} ${status} ${durationMs} ms`,
      client,
      method,
      path,
      status,
      durationMs,
      bytes,
    });
  };
  try {
    await next();
  } finally {
    if (res.closed) tell();
    else if (!isEventStream(ctx)) res.once('close', tell);
  }
}

function isEventStream({ response, method }: Context): boolean {
  return method === 'GET' && response.type === 'text/event-stream';
}

/** Characters of what a client has chosen that a line shows. */
const MAX_CHARACTERS = 200;

/** The path alone: the query may have a token in it. */
function pathOf(url = ''): string {
  const query = url.indexOf('?');
  return shortened(query === -1 ? url : url.slice(0, query));
}

function shortened(text: string): string {
  return text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS)}…` : text;
}
