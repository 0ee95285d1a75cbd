/** Tells all who follow the journal in this process of new entries, over one connection. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  BEGINNING,
  comparePositions,
  type Entry,
  type Follower,
  type Following,
  type Position,
  parsePosition,
} from '../journal.js';
import { later } from '../select.js';
import { decodeEntry } from './entry.js';
import { isNextTo } from './keys.js';
import { ANSWER_TIMEOUT_MS } from './line.js';
import type { Page, Reads } from './reads.js';
import type { Session } from './session.js';

export interface TailOptions {
  readonly keys: readonly string[];
  readonly reads: Reads;
  /** Waits for a session; rejects if there will be none. */
  whenUp(): Promise<Session>;
  generation(): string;
  /** Waits for the end of an append that is being written, if there is one. */
  whenWritten(): Promise<void> | undefined;
  /** The journal is not what it was: it has gone back, or another one is there. */
  attach(session: Session): Promise<void>;
  renew(session: Session, reason: unknown): void;
}

/** How long Redis waits for a new entry before it answers that there is none. */
const BLOCK_MS = 1000;
/** An answer has at most so many entries; if there are so many, the next ones are read by length as well. */
const FEW = 16;
const PAGE = { maxEntries: 1000, maxLength: 1024 * 1024 };
/** An append waits no longer than this for entries of others to be told before its own. */
const TELL_TIMEOUT_MS = 1000;

/** So often a follower reads what the others have been told meanwhile, before all wait for it. */
const MAX_CATCH_UPS = 100;

interface Member {
  readonly follower: Follower;
  /** It has been told all up to here. */
  told: Position;
}

export class Tail {
  readonly #options: TailOptions;
  readonly #members = new Set<Member>();
  /**
   * All members that have joined have been told all up to here. It is the newest position that there was at some moment:
   * so the number of the next entry tells whether one is missing.
   */
  #position: Position = BEGINNING;
  #waiting: { readonly position: Position; readonly resolve: () => void }[] = [];
  #isClosed = false;
  #running: Promise<void> | undefined;

  constructor(options: TailOptions) {
    this.#options = options;
  }

  /** The newest position that was told here. */
  get position(): Position {
    return this.#members.size > 0 ? this.#position : BEGINNING;
  }

  /** See `Journal.follow`. */
  async follow(follower: Follower, after: Position | undefined): Promise<Following> {
    const { last } = await this.#options.reads.newestPosition();
    // Without an entry after it there is nothing to tell before that.
    const isAtEnd = after === undefined || comparePositions(after, last) >= 0;
    const member: Member = { follower, told: isAtEnd ? last : after };
    const began = member.told;
    if (!isAtEnd) await this.#catchUp(member);
    // While it has caught up, the others may have been told more.
    for (let n = 0; n < MAX_CATCH_UPS && this.#isAhead(member); n++) await this.#catchUp(member);
    this.#join(member);
    return {
      after: began,
      close: () => {
        this.#members.delete(member);
        this.#wakeWaiting();
      },
    };
  }

  /**
   * Tells of entries that this process has appended after a position.
   *
   * @returns what to wait for, if entries of others are to be told before.
   */
  tellOwn(before: Position, entries: readonly Entry[]): Promise<void> | undefined {
    const last = entries.at(-1)?.position;
    if (this.#members.size === 0 || last === undefined) return undefined;
    if (comparePositions(before, this.#position) <= 0) {
      this.#tell(entries);
      return undefined;
    }
    return this.#whenTold(last);
  }

  /** All up to a position may have been lost. */
  lost(through: Position): void {
    if (comparePositions(through, this.#position) <= 0) return;
    this.#position = through;
    for (const member of [...this.#members]) this.#tellLost(member, through);
    this.#wakeWaiting();
  }

  /** Tells nobody anything any more. */
  stop(): void {
    this.#isClosed = true;
    this.#members.clear();
    this.#wakeWaiting();
  }

  /** Resolves when it does nothing any more, once there is no session. */
  async ended(): Promise<void> {
    await this.#running;
  }

  #isAhead({ told }: Member): boolean {
    return this.#members.size > 0 && comparePositions(told, this.#position) < 0;
  }

  /** Tells one member all that there is. */
  async #catchUp(member: Member): Promise<void> {
    for (;;) {
      const page = await this.#options.reads.page({ ...PAGE, after: member.told });
      if (this.#isClosed) return;
      if (isTrimmedAfter(member.told, page)) {
        this.#tellLost(member, page.last);
        return;
      }
      const fresh = page.entries.filter((each) => comparePositions(each.position, member.told) > 0);
      if (fresh.length > 0) this.#tellMember(member, fresh);
      if (page.isDamaged) this.#tellLost(member, page.reached ?? page.last);
      if (!page.isMore) {
        // Up to here there is no other.
        member.told = later(member.told, page.last);
        return;
      }
      await nextTurn();
    }
  }

  #join(member: Member): void {
    if (this.#isClosed) return;
    if (this.#members.size === 0 || this.#isAhead(member)) {
      // All go on from where the last one is, and skip what they know.
      this.#position = member.told;
    }
    this.#members.add(member);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async #run(): Promise<void> {
    while (!this.#isClosed && this.#members.size > 0) {
      const session = await this.#options.whenUp().catch(() => undefined);
      if (session === undefined) return; // The journal is closed.
      try {
        await this.#next(session);
      } catch (error) {
        if (this.#isClosed) return;
        // The connection has ended, or it is to be: what was told goes on from the next one.
        this.#options.renew(session, error);
        await nextTurn();
      }
    }
  }

  async #next(session: Session): Promise<void> {
    const [, entriesKey = ''] = this.#options.keys;
    const count = `${FEW}`;
    const command = ['XREAD', 'COUNT', count, 'BLOCK', `${BLOCK_MS}`];
    const reply = await session.tail.send(
      [...command, 'STREAMS', entriesKey, this.#position],
      BLOCK_MS + ANSWER_TIMEOUT_MS,
    );
    if (reply === null) {
      await this.#look(session);
      return;
    }
    const [[, raw] = []] = reply as readonly (readonly [string, readonly RawEntry[]])[];
    if (raw === undefined) return;
    const entries = raw.map(toEntry).filter((entry) => entry !== undefined);
    // Their append is about to tell of its entries itself: all at once, and also of those that are trimmed already.
    await this.#options.whenWritten();
    this.#tell(entries);
    this.#skipTo(raw.at(-1)?.[0]);
    if (raw.length === FEW) await this.#drain(session);
  }

  /** Tells all that there is. */
  async #drain(session: Session): Promise<Page> {
    for (;;) {
      const page = await this.#options.reads.page({ ...PAGE, after: this.#position }, session.tail);
      this.#tell(page.entries);
      this.#skipTo(page.reached);
      if (!page.isMore || this.#isClosed) return page;
      await nextTurn();
    }
  }

  /** While nothing comes: whether the journal is still the one that it was, and goes as far as was told. */
  async #look(session: Session): Promise<void> {
    const { reads, generation, attach } = this.#options;
    const newest = await reads.newestPosition(session.tail);
    const isOther = newest.generation !== generation();
    if (isOther || comparePositions(newest.last, this.#position) < 0) {
      await attach(session);
      return;
    }
    if (comparePositions(newest.last, this.#position) <= 0) return;
    const { last } = await this.#drain(session);
    // There were entries, and they are gone.
    if (comparePositions(newest.last, this.#position) > 0) this.lost(last);
  }

  /** Leaves out what stands there and is no entry of a journal. */
  #skipTo(position: Position | undefined): void {
    if (position !== undefined) this.lost(position);
  }

  /** Tells entries that have not been told, and where some between them are missing, that these are lost. */
  #tell(entries: readonly Entry[]): void {
    let fresh: Entry[] = [];
    for (const entry of entries) {
      if (comparePositions(entry.position, this.#position) <= 0) continue;
      if (!isNextTo(this.#position, entry.position)) {
        this.#tellAll(fresh);
        fresh = [];
        this.lost(justBefore(entry.position));
      }
      fresh.push(entry);
      this.#position = entry.position;
    }
    this.#tellAll(fresh);
  }

  #tellAll(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    // A copy: who begins to follow in here follows what comes next.
    for (const member of [...this.#members]) {
      if (!this.#members.has(member)) continue;
      const first = entries[0] as Entry;
      const isAllNew = comparePositions(member.told, first.position) < 0;
      const fresh = isAllNew
        ? entries
        : entries.filter(({ position }) => comparePositions(member.told, position) < 0);
      if (fresh.length > 0) this.#tellMember(member, fresh);
    }
    this.#wakeWaiting();
  }

  #tellMember(member: Member, entries: readonly Entry[]): void {
    member.told = (entries.at(-1) as Entry).position;
    member.follower.entries(entries);
  }

  #tellLost(member: Member, through: Position): void {
    if (comparePositions(through, member.told) <= 0) return;
    member.told = through;
    member.follower.lost(through);
  }

  #whenTold(position: Position): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter(({ resolve: each }) => each !== end);
        resolve();
      }, TELL_TIMEOUT_MS);
      this.#waiting.push({ position, resolve: end });
    });
  }

  #wakeWaiting(): void {
    if (this.#waiting.length === 0) return;
    const isTold = (position: Position): boolean =>
      this.#members.size === 0 || comparePositions(position, this.#position) <= 0;
    const told = this.#waiting.filter(({ position }) => isTold(position));
    this.#waiting = this.#waiting.filter(({ position }) => !isTold(position));
    for (const { resolve } of told) resolve();
  }
}

type RawEntry = readonly [position: string, fields: readonly string[]];

function toEntry([position, fields]: RawEntry): Entry | undefined {
  const [, header = '', , data = '', , ownId = null] = fields;
  return decodeEntry(position, header, data, ownId);
}

function isTrimmedAfter(position: Position, { trimmed, trimmedTransient }: Page): boolean {
  return [trimmed, trimmedTransient].some(
    (each) => each !== undefined && comparePositions(position, each) < 0,
  );
}

/** Whatever stood before an entry stood here at the latest. */
function justBefore(position: Position): Position {
  const [epoch, number] = parsePosition(position);
  return `${epoch}-${number - 1}`;
}
