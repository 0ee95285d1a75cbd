import type { ParameterizedContext } from 'koa';
import type { Backlog } from './backlog.js';
import { isClientAbort, isConnectionError } from './client-abort.js';
import type { EventStream } from './event-stream.js';

/** A client whose socket has more than this queued is not written to. */
const MAX_QUEUED_BYTES = 16 * 1024;

/** Prepares a response whose body is an event stream: for a client that leaves, and for errors. */
export function prepare(stream: EventStream, ctx: ParameterizedContext): void {
  ctx.onerror = reportError;
  closeWithConnection(stream, ctx);
}

/**
 * Sends the head and then the stream, which is the body of the response. Resolves when the stream has closed:
 * then the response has ended, or its connection is gone. Rejects with what the stream was destroyed with, as
 * far as that is no client that left.
 *
 * Koa would do the same once all middleware has returned, with `stream.pipeline`, which keeps 6 KB more for each
 * client. And as the body has no chunks, it goes straight to the socket, past the response, which would add a
 * twentieth to what an update costs each client (both measured with `npm run bench`).
 *
 * Only where the response has the connection to itself. On HTTP/2, for a pipelined request whose turn has not
 * come, and for a stream that was destroyed before, this sends the head and leaves the rest to Koa.
 */
export function transmit(
  stream: EventStream,
  ctx: ParameterizedContext,
  backlog: Backlog,
): Promise<void> | undefined {
  const { req, res } = ctx;
  // The body ends with its connection, so it needs no chunks. Each would make Node write four pieces (size, line
  // break, frames, line break) where one does.
  res.useChunkedEncodingByDefault = false;
  const isOurs = req.httpVersionMajor === 1 && res.socket !== null && !stream.destroyed;
  if (!isOurs) {
    ctx.flushHeaders();
    return;
  }

  const { socket } = req;
  socket.cork(); // The head and the first frames leave together.
  ctx.flushHeaders(); // Without it `open` would fire with the first event, whenever that is.
  const destination = res.chunkedEncoding ? res : socket; // Chunks only if somebody has asked for them.
  stream.on('data', (frames: Buffer) => {
    // A write that the system has taken whole leaves nothing queued, whatever it returns.
    if (destination.write(frames) || destination.writableLength < MAX_QUEUED_BYTES) return;
    stream.hold();
    backlog.add(stream, frames);
    destination.once('drain', () => {
      backlog.delete(stream);
      stream.release();
    });
  });
  stream.resume();
  process.nextTick(() => socket.uncork());

  return new Promise((resolve, reject) => {
    stream.on('close', () => {
      backlog.delete(stream);
      if (stream.readableEnded) res.end();
      else res.destroy(); // Or the client would wait on a stream that nobody writes to.
      if (stream.errored === null || isConnectionError(stream.errored)) resolve();
      else reject(stream.errored);
    });
  });
}

/**
 * Koa reports every body whose client left before its end as an application error, with a stack trace.
 * For an event stream there is no other end, so that report stops here; all others go on to the app. One
 * that comes too late for an answer ends the connection.
 */
function reportError(this: ParameterizedContext, error: Error): void {
  if (error == null || isClientAbort(error, this)) return;
  this.app.context.onerror.call(this, error);
  if (this.headerSent && !this.res.writableEnded) this.res.destroy();
}

/**
 * Koa closes the body with its response. A response that still waits for an earlier one on its connection
 * (HTTP/1.1 pipelining) does not know of the connection's end, and neither would its stream.
 */
function closeWithConnection(stream: EventStream, { req, res }: ParameterizedContext): void {
  if (res.socket !== null || req.httpVersionMajor !== 1) return;
  const { socket } = req;
  const close = () => stream.destroy();
  socket.setMaxListeners(0); // One for each request that waits, and gone with it.
  socket.once('close', close);
  stream.once('close', () => socket.off('close', close));
  if (socket.destroyed) close();
}
