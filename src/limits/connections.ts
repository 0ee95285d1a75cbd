import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { Log } from '../log.js';
import { limitKey, Networks } from './addresses.js';
import { ClientAddresses, socketAddress, type TrustProxy } from './client-address.js';
import { LimitError } from './refusal.js';
import { Tally } from './tally.js';

export interface ConnectionLimits {
  readonly trustProxy: TrustProxy;
  /** Sockets of all clients together. */
  readonly max: number;
  /** Sockets beyond these that are answered. More are closed without a word. */
  readonly surplus: number;
  /** Sockets of one client address; behind a trusted proxy its requests under way. 0: any number. */
  readonly maxPerAddress: number;
  /** Event streams of one token subject. 0: any number. */
  readonly maxPerSubject: number;
}

/** Seconds until one of many connections is likely to have ended. */
const RETRY_SECONDS = 10;
/** How long a connection beyond a limit may take to ask for what it is then refused. */
const SURPLUS_MS = 5_000;
/** Connections of one address beyond its limit that are answered. More are closed without a word. */
const SURPLUS_PER_ADDRESS = 64;

/** Who asks, as the log and the limits know it. */
export interface Client {
  readonly address: string;
  /** What limits per address count under; undefined where they do not count. */
  readonly key: string | undefined;
}

/** What is known of a connection for as long as it is open. Plain connections of one client in a row share theirs. */
interface Peer {
  readonly client: Client;
  /** What the connection itself counts under for as long as it is open, if it does. */
  readonly key: string | undefined;
  /** What its requests are answered, if it is one too many. */
  readonly refusal: LimitError | undefined;
  /** Of a trusted proxy, the keys of its requests under way, each as often as it was counted. */
  readonly held: string[] | undefined;
}

/** Kept on the socket itself: a WeakMap of ten thousand is work for every garbage collection. */
const PEER = Symbol('peer');

type WatchedSocket = Socket & { [PEER]?: Peer };

/**
 * Counts connections: all together, by client address and by token subject.
 *
 * A connection that comes straight from its client counts for as long as it is open, used or not. One of a
 * trusted proxy carries requests of many: each counts for its client from its head to the end of its answer.
 */
export class Connections {
  readonly #limits: ConnectionLimits;
  readonly #addresses: ClientAddresses;
  /** As long as nobody has said which proxies there are: a local address may be one, and stand for everybody. */
  readonly #exempt: Networks | undefined;
  #hasHinted = false;
  #lastDirect: Client | undefined;
  #lastPeer: Peer | undefined;
  /** One listener for all sockets: a closure for each is memory that ten thousand idle clients feel. */
  readonly #onClose: (this: WatchedSocket) => void;
  readonly #perAddress = new Tally();
  readonly #perSubject = new Tally();
  readonly #log: Log;
  #open = 0;
  #accepted = 0;
  #dropped = 0;
  /** While descriptors are scarce no further connection is served; see descriptors.ts. */
  isScarce: () => boolean = () => false;

  constructor(limits: ConnectionLimits, log: Log) {
    this.#limits = limits;
    this.#log = log;
    this.#addresses = new ClientAddresses(limits.trustProxy);
    if (limits.trustProxy === false) this.#exempt = new Networks(['loopback', 'private']);
    const connections = this;
    this.#onClose = function release() {
      connections.#release(this[PEER]);
    };
  }

  /** Counts every connection that the server accepts from now on. */
  watch(server: Server): void {
    const { max, surplus } = this.#limits;
    server.maxConnections = max + surplus;
    server.on('drop', (dropped?: { remoteAddress?: string }) => {
      this.#dropped += 1;
      const address = socketAddress({ remoteAddress: dropped?.remoteAddress });
      this.#log({
        level: 'warn',
        event: 'disconnected-max-connections',
        message: `${address} is disconnected: there are more than MAX_CONNECTIONS (${max}).`,
        client: address,
      });
    });
    // Before the listener that reads requests from it.
    server.prependListener('connection', (socket: WatchedSocket) => {
      const { refusal } = this.#accept(socket);
      if (refusal === undefined) return;
      const timer = setTimeout(() => socket.destroy(), SURPLUS_MS).unref();
      socket.once('close', () => clearTimeout(timer));
    });
  }

  /** @param socket on which the request with these headers came. */
  clientOf(socket: WatchedSocket, headers: IncomingHttpHeaders): Client {
    const direct = socket[PEER]?.client ?? this.#directClient(socketAddress(socket));
    if (this.#exempt !== undefined) {
      this.#hintAtProxy(direct, headers);
      return direct; // There are no proxies.
    }
    const { address, unnamed } = this.#addresses.of(direct.address, headers);
    if (unnamed === undefined && address === direct.address) return direct;
    if (unnamed === undefined) return { address, key: limitKey(address) };
    if (unnamed === 'disputed') {
      this.#log({
        level: 'warn',
        event: 'client-disputed',
        message: `${address} sends X-Forwarded-For and Forwarded with different clients, and neither is believed: let the proxy remove the one that it does not write.`,
        proxy: address,
      });
    }
    // Those share what one client may have, but not with the proxy itself, whose health checks go on.
    return { address, key: `a client behind ${limitKey(address)}` };
  }

  /** Why requests of this connection are refused, if they are. */
  refusalOf(socket: WatchedSocket): LimitError | undefined {
    return socket[PEER]?.refusal;
  }

  /**
   * Counts a request under way that a trusted proxy has passed on, until its answer has closed or its connection
   * has: an answer that waits for others on its connection (pipelining) is not told of the connection's end.
   *
   * @throws {LimitError} if its client has as many as it may have.
   */
  holdRequest(socket: WatchedSocket, { key }: Client, answer: ServerResponse): void {
    const { maxPerAddress } = this.#limits;
    const held = socket[PEER]?.held;
    if (maxPerAddress === 0 || key === undefined || held === undefined || socket.destroyed) return;
    if (this.#perAddress.of(key) >= maxPerAddress) throw this.#tooManyOf(key);
    this.#perAddress.add(key);
    held.push(key);
    answer.once('close', () => {
      const at = held.indexOf(key);
      if (at === -1) return; // Its connection has closed before.
      held.splice(at, 1);
      this.#perAddress.remove(key);
    });
  }

  /**
   * Counts an event stream of a token's subject until it closes.
   *
   * @throws {LimitError} if the subject has as many as it may have.
   */
  holdStream(subject: string, stream: Pick<Readable, 'destroyed' | 'once'>): void {
    const { maxPerSubject } = this.#limits;
    if (maxPerSubject === 0 || stream.destroyed) return;
    if (this.#perSubject.of(subject) >= maxPerSubject) {
      throw new LimitError(
        429,
        'MAX_CONNECTIONS_PER_SUBJECT',
        `The subject of this token has as many event streams as it may have (MAX_CONNECTIONS_PER_SUBJECT: ${maxPerSubject}).`,
        RETRY_SECONDS,
      );
    }
    this.#perSubject.add(subject);
    stream.once('close', () => this.#perSubject.remove(subject));
  }

  /** How many connections are served. */
  get max(): number {
    return this.#limits.max;
  }

  /** How many connections have been accepted. */
  get accepted(): number {
    return this.#accepted;
  }

  /** How many connections were closed without an answer, as there were too many, or too many of one address. */
  get dropped(): number {
    return this.#dropped;
  }

  /** What is counted at the moment. All are 0 when the last client has gone. */
  get counts(): { readonly open: number; readonly addresses: number; readonly subjects: number } {
    return {
      open: this.#open,
      addresses: this.#perAddress.size,
      subjects: this.#perSubject.size,
    };
  }

  #accept(socket: WatchedSocket): Peer {
    const { maxPerAddress } = this.#limits;
    const plain = this.#plainPeer(this.#directClient(socketAddress(socket)));
    const { client, key } = plain;
    const count = key === undefined ? 0 : this.#perAddress.add(key);
    this.#open += 1;
    this.#accepted += 1;
    const refusal = this.#refusalOf(key, count);
    const held = this.#addresses.isProxy(client.address) ? [] : undefined;
    const peer = (refusal ?? held) ? { ...plain, refusal, held } : plain;
    socket[PEER] = peer;
    socket.on('close', this.#onClose);
    if (count > maxPerAddress + SURPLUS_PER_ADDRESS) {
      this.#log({
        level: 'warn',
        event: 'disconnected-max-connections-per-address',
        message: `${key} is disconnected: it has more than MAX_CONNECTIONS_PER_ADDRESS (${maxPerAddress}).`,
        client: key,
      });
      this.#dropped += 1;
      socket.destroy();
    }
    return peer;
  }

  /** What is known of a connection of this client, if it is not refused and its client no proxy. */
  #plainPeer(client: Client): Peer {
    if (this.#lastPeer?.client === client) return this.#lastPeer;
    const counts = this.#limits.maxPerAddress > 0 && !this.#addresses.isProxy(client.address);
    const key = counts ? client.key : undefined;
    this.#lastPeer = { client, key, refusal: undefined, held: undefined };
    return this.#lastPeer;
  }

  /** A connection has closed. */
  #release(peer: Peer | undefined): void {
    this.#open -= 1;
    if (peer?.key !== undefined) this.#perAddress.remove(peer.key);
    for (const request of peer?.held?.splice(0) ?? []) this.#perAddress.remove(request);
  }

  /** @param count of the connections under this key, if there is one. */
  #refusalOf(key: string | undefined, count: number): LimitError | undefined {
    const { max, maxPerAddress } = this.#limits;
    if (key !== undefined && count > maxPerAddress) return this.#tooManyOf(key);
    if (this.#open > max) {
      return new LimitError(
        503,
        'MAX_CONNECTIONS',
        `The service has as many connections as it may have (MAX_CONNECTIONS: ${max}).`,
        RETRY_SECONDS,
      );
    }
    if (!this.isScarce()) return undefined;
    return new LimitError(
      503,
      'MAX_CONNECTIONS',
      'The service has no file descriptors left for more connections (MAX_CONNECTIONS).',
      RETRY_SECONDS,
    );
  }

  #tooManyOf(key: string): LimitError {
    return new LimitError(
      429,
      'MAX_CONNECTIONS_PER_ADDRESS',
      `${key} has as many connections as one address may have (MAX_CONNECTIONS_PER_ADDRESS: ${this.#limits.maxPerAddress}).`,
      RETRY_SECONDS,
    );
  }

  /** Once: what a local proxy passes on looks as if it were the proxy's own. */
  #hintAtProxy({ address, key }: Client, headers: IncomingHttpHeaders): void {
    if (this.#hasHinted || key !== undefined) return; // Of strangers the header says nothing.
    const { 'x-forwarded-for': list, forwarded } = headers;
    if (list === undefined && forwarded === undefined) return;
    this.#hasHinted = true;
    const name = list === undefined ? 'Forwarded' : 'X-Forwarded-For';
    this.#log({
      level: 'warn',
      event: 'proxy-not-trusted',
      message: `${address} sends ${name}, and TRUST_PROXY is false: if a proxy stands there, all its clients are ${address} in the log, and no limit by address counts. Set TRUST_PROXY to the proxy's network.`,
      proxy: address,
    });
  }

  /** Connections often come from one address in a row, and looking it up among networks takes some microseconds. */
  #directClient(address: string): Client {
    if (this.#lastDirect?.address === address) return this.#lastDirect;
    const isExempt = this.#exempt !== undefined && (address === '' || this.#exempt.has(address));
    this.#lastDirect = { address, key: isExempt ? undefined : limitKey(address) };
    return this.#lastDirect;
  }
}
