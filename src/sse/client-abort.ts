import type { Exchange } from './request.js';

/**
 * Whether an error says no more than that this request's client has gone. The same code may come from a
 * connection to somebody else, such as a database, and mean something: so the client's own must be gone.
 */
export function isClientAbort(error: unknown, exchange: Exchange): boolean {
  return isConnectionError(error) && isClientGone(exchange);
}

/** Whether nobody is there to read the response. */
export function isClientGone({ req, res }: Exchange): boolean {
  return res.destroyed || req.socket.destroyed;
}

/**
 * Whether an error is about a connection that was closed or reset, or that carried bytes which are not HTTP
 * (Node's `HPE_…` codes), after which nobody is there to talk to.
 */
export function isConnectionError(error: unknown): boolean {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  if (typeof code !== 'string') return false; // A DOMException, such as an AbortError, has a number.
  return (
    code === 'ERR_STREAM_PREMATURE_CLOSE' ||
    code === 'ECONNRESET' ||
    code === 'EPIPE' ||
    code.startsWith('HPE_')
  );
}
