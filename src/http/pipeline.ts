import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { problemDocument } from '../requests/problem.js';
import { isReadToEnd } from './answer.js';
import { linger } from './linger.js';
import type { Refusal } from './raw-answer.js';

/**
 * Requests of one connection that have no complete answer yet, or have come in one turn of the event loop, which
 * they would hold up; one more closes the connection.
 */
const MAX_UNANSWERED = 100;
/** Requests that may wait behind an event stream, for an answer that they do not get; one more closes the connection. */
const MAX_BEHIND_EVENT_STREAM = 4;

/** Kept on the socket itself: so functions that all connections share find it, and none needs its own. */
const PIPELINE = Symbol('pipeline');

type PipelinedSocket = Socket & { [PIPELINE]?: Pipeline };

/** The pipeline of a connection; `handle` is given the requests whose turn has come. */
export function pipelineOf(socket: PipelinedSocket, handle: RequestListener): Pipeline {
  const existing = socket[PIPELINE];
  if (existing !== undefined) return existing;
  const created = new Pipeline(socket, handle);
  socket[PIPELINE] = created;
  socket.destroySoon = lingerOnClose;
  return created;
}

/** The pipeline of a connection on which a request has come. */
export function existingPipeline(socket: PipelinedSocket): Pipeline | undefined {
  return socket[PIPELINE];
}

/**
 * The requests of one connection. HTTP/1.1 lets a client send the next ones before it has its answer, and Node
 * hands all of them over at once.
 *
 * Requests are taken in their order and handled side by side, but for `GET`: it begins when all before it are
 * answered, and what follows begins after its answer. So an event stream has its connection to itself, and it is
 * the last thing there.
 */
class Pipeline {
  readonly #socket: Socket;
  readonly #handle: RequestListener;
  /** The answers to requests that have not begun. Replaced and not changed: as a rule it is empty, and the same for all. */
  #waiting: readonly ServerResponse[] = NONE;
  /** The answer to the latest request. */
  #latest: ServerResponse | undefined;
  #unanswered = 0;
  #turn = 0;
  #takenInTurn = 0;
  /** Whether a `GET` is being answered. */
  #isHeld = false;
  #isEventStream = false;
  /** The server stops: what still comes is dropped. */
  #takesNoMore = false;
  /** The answer that closes the connection, once its turn has come. */
  #lastAnswer: (() => void) | undefined;

  constructor(socket: Socket, handle: RequestListener) {
    this.#socket = socket;
    this.#handle = handle;
  }

  /** Takes the next request of the connection. */
  take(request: IncomingMessage, response: ServerResponse): void {
    if (this.#socket.destroyed || this.#lastAnswer !== undefined || this.#takesNoMore) return;
    if (this.#turn !== currentTurn()) {
      this.#turn = currentTurn();
      this.#takenInTurn = 0;
    }
    this.#takenInTurn += 1;
    this.#unanswered += 1;
    if (Math.max(this.#unanswered, this.#takenInTurn) > MAX_UNANSWERED) {
      this.#destroy();
      return;
    }
    this.#latest = response;
    response.on('close', goOn); // Which comes once.
    if (this.#waiting.length === 0 && this.#mayBegin(request)) {
      this.#begin(response);
      return;
    }
    this.#waiting = [...this.#waiting, response];
    if (this.#isEventStream && this.#waiting.length > MAX_BEHIND_EVENT_STREAM) this.#destroy();
  }

  /** The answer under way has turned out to be an event stream. */
  enterEventStream(): void {
    this.#isEventStream = true;
    if (this.#waiting.length > MAX_BEHIND_EVENT_STREAM) this.#destroy();
  }

  /**
   * Closes the connection with an answer to what was not a request, or to one that did not come to its end: after
   * the answers to all before it.
   */
  close(answer: () => void): void {
    if (this.#lastAnswer !== undefined) return;
    if (this.#isEventStream || (this.isCutShort && this.#latest?.headersSent)) {
      this.#destroy();
      return;
    }
    this.#lastAnswer = answer;
    this.#answerLast();
  }

  /** An answer of this connection has closed: the next requests may begin. */
  answered({ method }: IncomingMessage): void {
    this.#unanswered -= 1;
    if (method === 'GET') {
      this.#isHeld = false;
      this.#isEventStream = false;
    }
    if (this.#socket.destroyed) return;
    for (;;) {
      const [next] = this.#waiting;
      // The next is not among those that are being answered.
      if (next === undefined || this.#isHeld) break;
      if (next.req.method === 'GET' && this.#unanswered > this.#waiting.length) break;
      this.#waiting = this.#waiting.slice(1);
      this.#begin(next);
    }
    this.#answerLast();
  }

  /** Whether there is a request that has yet to be answered. One behind an event stream never is. */
  get isAnswering(): boolean {
    return this.#unanswered > 0 && !this.#isEventStream;
  }

  /** Makes this answer the connection's last, unless a request has come after the one that it answers. */
  endWith(response: ServerResponse): boolean {
    // Or what was pipelined behind it would have no answer.
    if (this.#latest !== response) return false;
    this.#takesNoMore = true;
    return true;
  }

  /** What comes after the requests under way, if there are any, is dropped: a client that goes on could do so for ever. */
  takeNoMore(): void {
    this.#takesNoMore ||= this.isAnswering;
  }

  /** Whether the client may go on sending when the connection has its last answer. */
  get mayBeSentMore(): boolean {
    return this.#takesNoMore || this.isCutShort;
  }

  /** Whether the latest request has not come to its end. */
  get isCutShort(): boolean {
    return this.#latest !== undefined && !isReadToEnd(this.#latest.req);
  }

  /** Drops what the latest request still brings. */
  dropRest(): void {
    this.#latest?.req.resume();
  }

  #mayBegin({ method }: IncomingMessage): boolean {
    return !this.#isHeld && (method !== 'GET' || this.#unanswered - this.#waiting.length === 1);
  }

  #begin(response: ServerResponse): void {
    const { req: request } = response;
    if (request.method === 'GET') this.#isHeld = true;
    const refusal = refusalOf(request);
    if (refusal === undefined) this.#handle(request, response);
    else refuse(response, refusal);
  }

  #answerLast(): void {
    if (this.#unanswered <= (this.isCutShort ? 1 : 0)) this.#lastAnswer?.();
  }

  #destroy(): void {
    this.#waiting = NONE;
    this.#socket.destroy();
  }
}

const NONE: readonly ServerResponse[] = [];

function goOn(this: ServerResponse): void {
  const socket: PipelinedSocket = this.req.socket;
  socket[PIPELINE]?.answered(this.req);
}

/** Node closes a connection after its last answer with `destroySoon()`, whether or not its client still sends. */
function lingerOnClose(this: PipelinedSocket): void {
  const pipeline = this[PIPELINE];
  if (!pipeline?.mayBeSentMore) {
    Object.getPrototypeOf(this).destroySoon.call(this);
    return;
  }
  pipeline.dropRest();
  linger(this);
}

let turn = 1;
let isTurnCounted = false;

/** The number of this turn of the event loop: one timer for all connections. */
function currentTurn(): number {
  if (!isTurnCounted) {
    isTurnCounted = true;
    setImmediate(() => {
      isTurnCounted = false;
      turn += 1;
    });
  }
  return turn;
}

/** What Node itself would refuse, but without a word of why. */
function refusalOf(request: IncomingMessage): Refusal | undefined {
  const { headers, httpVersion } = request;
  // RFC 9112, section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
  // message that lacks a Host header field".
  if (headers.host === undefined && httpVersion === '1.1') {
    return { status: 400, detail: 'The Host header is missing.' };
  }
  if (!hasPath(request)) {
    return { status: 400, detail: 'The request target is neither a path nor a URL.' };
  }
  if (httpVersion === '0.9') return { status: 400, detail: 'HTTP/0.9 is not spoken here.' };
  if (headers.expect !== undefined && !/^100-continue$/i.test(headers.expect)) {
    return { status: 417, detail: 'Expect can only be 100-continue.' };
  }
  return undefined;
}

/**
 * Whether the target of a request says which path it is for. RFC 9112, section 3.2.2: "a server MUST accept the
 * absolute-form in requests even though most HTTP/1.1 clients will only send the absolute-form to a proxy". It is
 * made a path here, since those who parse it below throw at what is no URL.
 */
function hasPath(request: IncomingMessage): boolean {
  const { url = '' } = request;
  if (url.startsWith('/') || url === '*') return true;
  if (!/^https?:/i.test(url) || !URL.canParse(url)) return false;
  const { pathname, search } = new URL(url);
  request.url = pathname + search;
  return true;
}

function refuse(response: ServerResponse, { status, detail }: Refusal): void {
  const body = problemDocument(status, detail);
  response.writeHead(status, {
    'Content-Type': 'application/problem+json',
    'Content-Length': Buffer.byteLength(body),
  });
  response.end(response.req.method === 'HEAD' ? '' : body);
}
