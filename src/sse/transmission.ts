import { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { breakConnection } from './break-connection.js';
import { isClientAbort, isClientGone } from './client-abort.js';
import type { Carrier, EndReason, EventStream, StreamEnd } from './event-stream.js';
import type { OpenStreams } from './open-streams.js';
import type { Exchange } from './request.js';

/** A client whose socket has more than this queued is not written to. */
const MAX_QUEUED_BYTES = 16 * 1024;

/**
 * The way of a stream, which is the body of a response, to its client: when the head leaves, how frames follow it, and
 * what becomes of both when a handler throws.
 *
 * The head leaves when {@link begin} is called, by whoever knows that the handlers are done; or, while a handler still
 * runs, at the end of the turn of the event loop in which the stream was first written to.
 */
export abstract class Transmission implements Carrier {
  protected readonly stream: EventStream;
  protected readonly exchange: Exchange;
  protected isHandlerDone = false;
  readonly #open: OpenStreams;
  #destination: Socket | ServerResponse | undefined;
  #isBegun = false;
  #failure: unknown;

  constructor(stream: EventStream, exchange: Exchange, open: OpenStreams) {
    this.stream = stream;
    this.exchange = exchange;
    this.#open = open;
    stream.carrier = this;
    closeWithConnection(stream, exchange);
  }

  /** Whether the response can take the stream as its body, while a handler still runs. */
  protected abstract isReady(): boolean;

  /** Tells and answers an error; one that comes too late for an answer breaks the connection. */
  protected abstract report(error: unknown): void;

  onFirstWrite(): void {
    if (!this.isHandlerDone) setImmediate(endTurn, this);
  }

  /** The turn of the stream's first write is over. */
  endTurn(): void {
    if (this.isHandlerDone || this.#isBegun || this.stream.destroyed) return;
    if (this.isReady()) this.begin();
  }

  reasonToClose(): EndReason {
    if (!this.#isBegun && this.exchange.res.writableEnded) return 'unused';
    if (isClientGone(this.exchange)) return 'left';
    return this.#isBegun ? 'cut' : 'unused';
  }

  onEnd(end: StreamEnd): void {
    if (this.#isBegun) this.#open.tellEnd(this.stream, end, this.exchange.req);
  }

  /** Writes frames of the stream to its client. */
  forward(frames: Buffer): void {
    const destination = this.#destination as Socket | ServerResponse;
    // A write that the system has taken whole leaves nothing queued, whatever it returns.
    if (destination.write(frames) || destination.writableLength < MAX_QUEUED_BYTES) return;
    const { stream } = this;
    const { backlog } = this.#open;
    stream.hold();
    backlog.add(stream, frames);
    destination.once('drain', () => {
      backlog.delete(stream);
      stream.release();
    });
  }

  /** Frames were handed on by `pipeline`: if the response took no more, it has paused the stream. */
  noteIfHeld(frames: Buffer): void {
    if (!this.stream.isPaused()) return;
    this.noteRelease();
    this.#open.backlog.add(this.stream, frames);
  }

  /** What was handed on by `pipeline` has been taken, or nobody will take it. */
  noteRelease(): void {
    this.#open.backlog.delete(this.stream);
  }

  /** The stream has closed, and so does the response. */
  close(): void {
    const { res } = this.exchange;
    const { errored, readableEnded } = this.stream;
    this.#open.backlog.delete(this.stream);
    if (readableEnded) res.end();
    else if (errored === null)
      res.destroy(); // Or the client would wait on a stream that nobody writes to.
    else this.report(errored);
  }

  /** Ends the response and the stream for an error that comes too late for an answer. */
  fail(error: unknown): void {
    this.#failure ??= error;
    if (this.stream.writableEnded) return; // The client has all of it.
    breakConnection(this.exchange);
    this.stream.fail(error);
  }

  /**
   * Whether an error says no more than that the stream is over: its client has gone, or what was done for it was
   * aborted. What has ended the response itself says more, though its connection is gone by now.
   */
  isOver(error: unknown): boolean {
    if (this.#failure !== undefined && this.#failure === error) return false;
    if (isClientAbort(error, this.exchange)) return true;
    const isAborted = (error as Error | undefined)?.name === 'AbortError';
    return isAborted && (this.#isBegun ? this.stream.destroyed : isClientGone(this.exchange));
  }

  /** Ends the stream, before the head has left: the request is answered with something else. */
  abandon(): void {
    this.stream.destroy();
  }

  protected get isBegun(): boolean {
    return this.#isBegun;
  }

  /** From now on the stream is one of those that are open. */
  protected markBegun(): void {
    this.#isBegun = true;
    this.#open.add(this.stream);
  }

  /**
   * Sends the head and then the stream.
   *
   * `stream.pipeline` would do the same, but keeps 6 KB more for each client. And as the body has no chunks, it goes
   * straight to the socket, past the response, which would add a twentieth to what an update costs each client (both
   * measured with `npm run bench`).
   *
   * Only where the response has the connection to itself, and nobody has put a `write` of their own in its way, as
   * middleware does that compresses. On HTTP/2, and for a pipelined request whose turn has not come, the stream is sent
   * by `stream.pipeline`, over HTTP/1.1 in chunks.
   */
  protected begin(): void {
    const { stream } = this;
    const { req, res } = this.exchange;
    const isDirect = req.httpVersionMajor === 1 && res.socket !== null && res.write === write;
    // The body ends with its connection, so it needs no chunks. Each would make Node write four pieces (size, line
    // break, frames, line break) where one does.
    if (isDirect) res.useChunkedEncodingByDefault = false;
    this.markBegun();
    if (stream.destroyed) {
      res.flushHeaders();
      res.destroy();
      return;
    }
    if (!isDirect) {
      res.flushHeaders();
      pipeline(stream, res, (error) => {
        if (error) this.report(error);
      });
      stream.on('data', noteIfHeld).on('resume', noteRelease).on('close', noteRelease);
      return;
    }

    const { socket } = req;
    socket.cork(); // The head and the first frames leave together.
    res.flushHeaders(); // Without it `open` would fire with the first event, whenever that is.
    this.#destination = res.chunkedEncoding ? res : socket; // Chunks only if somebody has asked for them.
    // Shared by all streams: closures for each are memory that ten thousand idle clients feel.
    stream.on('data', forward);
    stream.on('close', close);
    stream.resume();
    process.nextTick(() => socket.uncork());
  }
}

const { write } = ServerResponse.prototype;

function endTurn(transmission: Transmission): void {
  transmission.endTurn();
}

function forward(this: EventStream, frames: Buffer): void {
  (this.carrier as Transmission).forward(frames);
}

function noteIfHeld(this: EventStream, frames: Buffer): void {
  (this.carrier as Transmission).noteIfHeld(frames);
}

function noteRelease(this: EventStream): void {
  (this.carrier as Transmission).noteRelease();
}

function close(this: EventStream): void {
  (this.carrier as Transmission).close();
}

/**
 * A response that still waits for an earlier one on its connection (HTTP/1.1 pipelining) does not know of the
 * connection's end, and neither would its stream.
 */
function closeWithConnection(stream: EventStream, { req, res }: Exchange): void {
  if (res.socket !== null || req.httpVersionMajor !== 1) return;
  const { socket } = req;
  const close = () => stream.destroy();
  socket.setMaxListeners(0); // One for each request that waits, and gone with it.
  socket.once('close', close);
  stream.once('close', () => socket.off('close', close));
  if (socket.destroyed) close();
}
