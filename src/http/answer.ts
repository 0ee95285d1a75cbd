import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface AnswerOptions {
  /** Whether the connection is to be closed after this answer, as while the server stops. */
  readonly isLast: (answer: ServerResponse) => boolean;
  /** An event stream begins: its connection is its own from now on. */
  readonly onEventStream: (socket: Socket) => void;
}

/**
 * The class of all answers of a server: what each of them says, whatever route or error it comes from, is said
 * here, when the head leaves.
 */
export function createAnswerClass({ isLast, onEventStream }: AnswerOptions): typeof ServerResponse {
  return class Answer<
    Request extends IncomingMessage = IncomingMessage,
  > extends ServerResponse<Request> {
    override writeHead(statusCode: number, ...rest: unknown[]): this {
      this.setHeader('X-Content-Type-Options', 'nosniff');
      // What follows an unread body on its connection could not be told from it without reading on.
      if (isLast(this) || !isReadToEnd(this.req)) this.setHeader('Connection', 'close');
      super.writeHead(statusCode, ...(rest as []));
      if (isEventStream(this)) onEventStream(this.req.socket);
      return this;
    }
  };
}

/** Whether all of a request has arrived, its body included. */
export function isReadToEnd({ complete, headers }: IncomingMessage): boolean {
  // A request without a body is complete a moment after it was handed over.
  return (
    complete ||
    (headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0)
  );
}

function isEventStream(response: ServerResponse): boolean {
  const type = response.getHeader('Content-Type');
  return (
    response.req.method === 'GET' &&
    typeof type === 'string' &&
    type.startsWith('text/event-stream')
  );
}
