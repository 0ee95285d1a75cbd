/**
 * Readers of token streams: raw sockets that share one read buffer. Every token of every client is read: its number must
 * be the next, and how late it is counts from when it was due.
 */
import { connect } from 'node:net';
import { tokensRequest } from '../peers.js';
import { machineMs } from './machine-clock.js';
import { Samples } from './samples.js';
import { WrongAnswer } from './wrong-answer.js';

const READ_BYTES = 64 * 1024;
/** `~` */
const MARKER = 0x7e;
/** The marker, nine digits of the number, a hyphen, sixteen digits of microseconds. */
const TOKEN_BYTES = 27;

export class TokenStreams {
  /** Tokens that any client has received. */
  received = 0;
  /** Milliseconds from when a token was due to when it was read, of all tokens while this is set. */
  lateness;
  #port;
  #streams = [];
  #buffer = Buffer.alloc(READ_BYTES);
  #failure;
  #isClosed = false;

  constructor(server) {
    this.#port = server.port;
  }

  /**
   * Opens streams, and resolves when each has had its first token.
   *
   * @param phaseOf the millisecond of its period in which the n-th stream's tokens are due.
   */
  async open(count, phaseOf) {
    const IN_FLIGHT = 64;
    let next = 0;
    const openInTurn = async () => {
      while (next < count) await this.#open(tokensRequest({ phase: phaseOf(next++) })).first;
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, openInTurn));
    this.check();
  }

  /** Opens a stream of one token, and resolves with the milliseconds from its sending to here. */
  async firstByte() {
    const stream = this.#open(tokensRequest({ count: 1 }));
    const milliseconds = await stream.first;
    stream.isOver = true;
    stream.socket.resetAndDestroy();
    this.check();
    return milliseconds;
  }

  recordLateness() {
    this.lateness = new Samples();
  }

  /** @throws what went wrong so far. */
  check() {
    if (this.#failure) throw this.#failure;
  }

  close() {
    this.#isClosed = true;
    for (const { socket } of this.#streams) socket.resetAndDestroy();
  }

  #open(request) {
    const stream = { socket: undefined, first: undefined, isOver: false };
    let next = 0;
    let rest;
    let isNew = true;
    stream.first = new Promise((resolve) => {
      const fail = (message) => {
        if (this.#isClosed || stream.isOver) return;
        this.#failure ??= new WrongAnswer(message);
        resolve(Number.NaN);
      };
      const read = (length) => {
        const now = machineMs();
        let bytes = this.#buffer.subarray(0, length);
        if (isNew) {
          isNew = false;
          const head = bytes.toString('latin1', 0, 400);
          if (!head.startsWith('HTTP/1.1 200 ')) fail(`a stream is answered: ${head}`);
        }
        if (rest !== undefined) bytes = Buffer.concat([rest, bytes]);
        rest = undefined;
        let marker = bytes.indexOf(MARKER);
        for (; marker !== -1; marker = bytes.indexOf(MARKER, marker + TOKEN_BYTES)) {
          if (marker + TOKEN_BYTES > bytes.length) {
            rest = Buffer.from(bytes.subarray(marker));
            break;
          }
          const number = digits(bytes, marker + 1, 9);
          if (number !== next) fail(`token ${number} came where ${next} is due`);
          const dueMs = digits(bytes, marker + 11, 16) / 1_000;
          if (next === 0) resolve(now - dueMs);
          else this.lateness?.add(now - dueMs);
          next += 1;
          this.received += 1;
        }
        return true;
      };
      stream.socket = connect({
        host: '127.0.0.1',
        port: this.#port,
        noDelay: true,
        onread: { buffer: this.#buffer, callback: read },
      });
      stream.socket.on('error', (error) => fail(error.message));
      stream.socket.on('close', () => fail('a stream has ended'));
      stream.socket.write(request);
    });
    this.#streams.push(stream);
    return stream;
  }
}

function digits(buffer, from, count) {
  let value = 0;
  for (let index = from; index < from + count; index++) value = value * 10 + buffer[index] - 48;
  return value;
}
