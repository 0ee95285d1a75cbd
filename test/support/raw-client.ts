import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A connection of real bytes: what is sent is what is written here, and what comes is kept as it came. */
export interface RawClient {
  readonly socket: Socket;
  /** All that has come so far. */
  text(): string;
  send(bytes: string | Buffer): RawClient;
  /** Resolves with all that has come, when this matches it; rejects when the connection closes before. */
  received(pattern: RegExp): Promise<string>;
  /** The same, when so many answers have begun to come and the text ends with this. */
  answered(count: number, end: string): Promise<string>;
  /** Resolves with all that has come, and the error if there was one, when the server has closed the connection. */
  readonly closed: Promise<{ text: string; error: string | undefined }>;
  /** Resolves when the connection is gone in both directions. */
  readonly gone: Promise<void>;
}

/** Whoever calls this ends it: the connection stays open for writing when the server has closed it. */
export async function rawConnect(url: string): Promise<RawClient> {
  // A client may go on sending after the end of what it reads.
  const socket = connect({
    port: Number(new URL(url).port),
    host: '127.0.0.1',
    allowHalfOpen: true,
  });
  let text = '';
  let error: string | undefined;
  let look: () => void = () => undefined;
  socket.setEncoding('latin1').on('data', (piece: string) => {
    text += piece;
    look();
  });
  socket.on('error', ({ code }: NodeJS.ErrnoException) => {
    error = code;
  });
  const closed = new Promise<{ text: string; error: string | undefined }>((resolve) => {
    socket.once('end', () => resolve({ text, error }));
    socket.once('close', () => resolve({ text, error }));
  });
  const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await once(socket, 'connect');
  const until = (isThere: () => boolean, what: string) =>
    new Promise<string>((resolve, reject) => {
      look = () => {
        if (isThere()) resolve(text);
      };
      look();
      closed.then((end) => reject(new Error(`closed before ${what}: ${JSON.stringify(end)}`)));
    });
  const client: RawClient = {
    socket,
    text: () => text,
    send(bytes) {
      socket.write(bytes);
      return client;
    },
    received: (pattern) => until(() => pattern.test(text), String(pattern)),
    answered: (count, end) =>
      until(
        () => statusesOf(text).length === count && text.endsWith(end),
        `${count} answers and ${JSON.stringify(end)}`,
      ),
    closed,
    gone,
  };
  return client;
}

/** The statuses of all answers in what has come. */
export function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}
