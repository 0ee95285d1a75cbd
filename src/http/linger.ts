import type { Socket } from 'node:net';

/** How long, and for how many bytes, a client may go on sending after its last answer. */
const LINGER_MS = 2_000;
const LINGER_MAX_BYTES = 64 * 1024 * 1024;
const CHECK_MS = 50;

/**
 * Closes a connection that has its last answer. Its reader drops what still comes, until the client closes too or a
 * limit is reached. If it were closed at once, the system would reset it for the bytes that nobody has read, and
 * a client that is still sending could lose the answer.
 */
export function linger(socket: Socket): void {
  socket.end();
  const startedAt = performance.now();
  const { bytesRead } = socket;
  const check = setInterval(() => {
    const isOver =
      performance.now() - startedAt > LINGER_MS || socket.bytesRead - bytesRead > LINGER_MAX_BYTES;
    if (isOver) socket.destroy();
  }, CHECK_MS).unref();
  socket.once('close', () => clearInterval(check));
}
