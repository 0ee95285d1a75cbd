import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { problemDocument } from '../requests/problem.js';

/** Why a connection is closed before its request has reached the app. */
export interface Refusal {
  readonly status: number;
  readonly detail: string;
}

/** What to tell a client whose bytes are no request, or come too late; nothing if it has gone. */
export function describeClientError({ code, reason }: ClientError): Refusal | undefined {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return {
        status: 408,
        detail:
          'The request took too long: its head may take 10 seconds, all of it BODY_TIMEOUT_MS.',
      };
    case 'HPE_HEADER_OVERFLOW':
      return {
        status: 431,
        detail: 'The request line and the headers are larger than the 16384 bytes allowed.',
      };
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return {
        status: 413,
        detail: 'The extensions of the chunks are larger than the 16384 bytes allowed.',
      };
    default:
      if (!code?.startsWith('HPE_')) return undefined;
      return { status: 400, detail: `This is not a valid HTTP/1.1 request: ${reason ?? code}.` };
  }
}

/** Answers on a connection that has no response for it, and closes it for writing. */
export function answerRaw(socket: Socket, { status, detail }: Refusal): void {
  const body = problemDocument(status, detail);
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'Connection: close',
      'Content-Type: application/problem+json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'X-Content-Type-Options: nosniff',
      '',
      body,
    ].join('\r\n'),
  );
}

/** Node's parser gives the reason of an `HPE_…` code: one of a few texts of its own. */
type ClientError = NodeJS.ErrnoException & { readonly reason?: string };
