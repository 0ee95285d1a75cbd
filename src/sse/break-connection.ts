import type { ServerResponse } from 'node:http';
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { Exchange } from './request.js';

/**
 * Ends a response in a way that its client can tell from an end: by a reset. The body of an event stream has no length
 * and, over HTTP/1.1, no chunks: without a reset the client would take what it has for all there is. Where there is no
 * TCP connection to reset (TLS, a socket of the file system) the connection closes without more.
 */
export function breakConnection({ req, res }: Exchange): void {
  if (req.httpVersionMajor === 2) {
    const { stream } = res as ServerResponse & { stream: ServerHttp2Stream };
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  } else if (res.socket === null) {
    res.destroy(); // Its turn on the connection has not come; others have theirs.
  } else {
    try {
      res.socket.resetAndDestroy();
    } catch {
      res.destroy(); // Node resets nothing but TCP, and says so by an error.
    }
  }
}
