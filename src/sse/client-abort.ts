import type { ParameterizedContext } from 'koa';

/**
 * Whether an error says no more than that this request's client has gone. The same code may come from a
 * connection to somebody else, such as a database, and mean something: so the client's own must be gone.
 */
export function isClientAbort(error: unknown, { req, res }: ParameterizedContext): boolean {
  return isConnectionError(error) && (res.destroyed || req.socket.destroyed);
}

/**
 * Whether an error is about a connection that was closed or reset, or that carried bytes which are not HTTP
 * (Node's `HPE_…` codes), after which nobody is there to talk to.
 */
export function isConnectionError(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return (
    code === 'ERR_STREAM_PREMATURE_CLOSE' ||
    code === 'ECONNRESET' ||
    code === 'EPIPE' ||
    code?.startsWith('HPE_') === true
  );
}
