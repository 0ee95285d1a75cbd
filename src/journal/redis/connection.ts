/** Keeps a node connected: opens a new session whenever one has ended. */

import { setTimeout as wait } from 'node:timers/promises';
import type { OnNotice } from '../notice.js';
import type { Address } from './address.js';
import { AwayError, RefusedError, reasonText, UnfitError } from './failures.js';
import { Session } from './session.js';

export interface ConnectionOptions {
  readonly address: Address;
  /** What the log calls it. */
  readonly name: string;
  /** What is to be done first with each session. If it fails, so has the session. */
  prepare(session: Session): Promise<void>;
  /** Is told what an operator should know: when Redis goes away, why, and when it is back. */
  readonly onNotice: OnNotice;
}

/** The longest pause between two tries, and the first; half of it and more is by chance. */
const MAX_PAUSE_MS = 2000;
const FIRST_PAUSE_MS = 50;
/** A session that was up for so long was a good one: the next pause is the first one again. */
const GOOD_MS = 5000;
/** So long nobody is refused: most connections that end are open again by then. */
const GRACE_MS = 500;
/** What goes and comes more often than this is told of as one. */
const QUIET_MS = 10_000;

export class Connection {
  readonly #options: ConnectionOptions;
  #session: Session | undefined;
  /** Resolves when there is a session. */
  #up = defer<Session>();
  /** Resolves when the session has been given up. */
  #left = defer<Error>();
  #failures = 0;
  #retries = 0;
  #reason: unknown = new Error('It has not been reached yet');
  #leftAt = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;
  /** What the log was told last. */
  #toldAwayAt: number | undefined;
  #lastToldAt = Number.NEGATIVE_INFINITY;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /**
   * Opens the first session, and keeps one open from then on.
   *
   * @throws what is wrong, at once where a retry mends nothing, otherwise after a time.
   */
  async open(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      try {
        this.#enter(await this.#connect());
        this.#running = this.#run();
        return;
      } catch (error) {
        const isLasting = error instanceof RefusedError && error.isLasting;
        if (error instanceof UnfitError || isLasting || performance.now() >= until) throw error;
        await this.#pause(error);
      }
    }
  }

  /** The session that is up. @throws {AwayError} with the reason. */
  get session(): Session {
    if (this.#session === undefined) throw new AwayError(messageOf(this.#reason));
    return this.#session;
  }

  /**
   * The session that is up, or that is up again shortly after the last one has ended.
   *
   * @throws {AwayError} with the reason.
   */
  async soon(): Promise<Session> {
    const left = this.#leftAt + GRACE_MS - performance.now();
    if (this.#session === undefined && left > 0 && !this.#isClosed) {
      const giveUp = new AbortController();
      const timeout = wait(left, undefined, { signal: giveUp.signal }).catch(() => {});
      await Promise.race([this.#up.promise.catch(() => {}), timeout]);
      giveUp.abort();
    }
    return this.session;
  }

  /** How often a session was tried to open since the first was, until now. */
  get retries(): number {
    return this.#retries;
  }

  /** Waits for a session. Rejects once this is closed. */
  whenUp(): Promise<Session> {
    if (this.#isClosed) return Promise.reject(new AwayError('The journal has been closed'));
    return this.#session === undefined ? this.#up.promise : Promise.resolve(this.#session);
  }

  /** Gives up a session, since something was wrong with it. */
  renew(session: Session, reason: unknown): void {
    if (session !== this.#session) return;
    this.#note(reason);
    this.#leave(reason);
    session.retire();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closing.abort();
    this.#session?.close();
    this.#session = undefined;
    this.#left.resolve(new Error('The journal has been closed'));
    this.#up.reject(new AwayError('The journal has been closed'));
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      const session = this.#session;
      if (session === undefined) {
        await this.#reopen();
        continue;
      }
      const openedAt = performance.now();
      const reason = await Promise.race([session.ended, this.#left.promise]);
      if (performance.now() - openedAt > GOOD_MS) this.#failures = 0;
      if (this.#session === session) {
        this.#leave(reason);
        session.close();
      }
    }
  }

  async #reopen(): Promise<void> {
    if (this.#failures > 0) await this.#pause(this.#reason);
    if (this.#isClosed) return;
    this.#failures++;
    this.#retries++;
    try {
      const session = await this.#connect();
      if (this.#isClosed) session.close();
      else this.#enter(session);
    } catch (error) {
      this.#note(error);
      this.#tellAway(error);
    }
  }

  async #connect(): Promise<Session> {
    const { address, prepare } = this.#options;
    // A few nodes of a cluster may say one after the other that another one has the keys.
    for (let moves = 0; ; moves++) {
      let session: Session | undefined;
      try {
        session = await Session.open(address);
        await prepare(session);
        return session;
      } catch (error) {
        session?.close();
        if (!this.#note(error) || moves >= 3) throw error;
      }
    }
  }

  /** Remembers what was wrong. Returns whether it says where else to go. */
  #note(error: unknown): boolean {
    this.#reason = error;
    const to = error instanceof RefusedError ? error.movedTo : undefined;
    if (to === undefined || !this.#options.address.isCluster) return false;
    this.#options.address.moved(to);
    return true;
  }

  #enter(session: Session): void {
    this.#session = session;
    this.#left = defer();
    this.#tellBack();
    this.#up.resolve(session);
  }

  #leave(reason: unknown): void {
    this.#session = undefined;
    this.#leftAt = performance.now();
    this.#reason = reason;
    this.#up = defer();
    this.#left.resolve(reason instanceof Error ? reason : new Error(String(reason)));
    this.#tellAway(reason);
  }

  #tellAway(reason: unknown): void {
    if (this.#isClosed || this.#toldAwayAt !== undefined) return;
    const now = performance.now();
    if (now - this.#lastToldAt < QUIET_MS) return;
    this.#toldAwayAt = now;
    this.#lastToldAt = now;
    const { name, onNotice } = this.#options;
    onNotice({
      level: 'error',
      event: 'redis-away',
      message: `${name} is away: ${reasonText(reason)} It is tried again until it is back.`,
    });
  }

  #tellBack(): void {
    if (this.#toldAwayAt === undefined) return;
    const seconds = ((performance.now() - this.#toldAwayAt) / 1000).toFixed(1);
    this.#toldAwayAt = undefined;
    this.#options.onNotice({
      level: 'info',
      event: 'redis-back',
      message: `${this.#options.name} is back after ${seconds} s.`,
    });
  }

  async #pause(reason: unknown): Promise<void> {
    const isLasting = reason instanceof RefusedError && reason.isLasting;
    const grown = FIRST_PAUSE_MS * 2 ** Math.min(this.#failures, 10);
    const most = isLasting ? MAX_PAUSE_MS : Math.min(grown, MAX_PAUSE_MS);
    const ms = most * (0.5 + Math.random() / 2);
    await wait(ms, undefined, { signal: this.#closing.signal }).catch(() => {});
  }
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message || reasonText(reason) : String(reason);
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

function defer<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((settle, fail) => {
    resolve = settle;
    reject = fail;
  });
  promise.catch(() => {}); // Maybe nobody waits.
  return { promise, resolve, reject };
}
