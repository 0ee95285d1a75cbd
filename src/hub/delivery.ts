import { comparePositions, type Entry, type Follower, type Position } from '../journal/journal.js';
import { later } from '../journal/select.js';
import type { Flushed } from '../sse/audience.js';
import type { EventStream } from '../sse/event-stream.js';
import { SharedTime, TurnBudget } from '../time-slice.js';
import type { Selection } from '../topics/selection.js';
import { SelectionIndex } from '../topics/selection-index.js';
import { Arrivals, type Waiter } from './arrivals.js';
import type { EntryFrames } from './entry-frames.js';
import { FrameMemory } from './frame-memory.js';
import { Group, type Written } from './group.js';
import type { KnownEndings } from './known-endings.js';
import type { PublishTimes } from './publish-times.js';
import { SelectionEnd } from './selection-end.js';
import type { Cursor, Window } from './window.js';

/** What the journal is followed to: its next entry, or that the place in it was lost up to a position. */
type Followed = Entry | { readonly lostThrough: Position };

export interface DeliveryEvents {
  /** A live stream does not read. It has left, and is no longer delivered to. */
  onStall(stream: EventStream, written: Written): void;
  /** A live stream has left because the place in the journal was lost: what comes next is not what it misses. */
  onLost(stream: EventStream, written: Written): void;
  /** The place in the journal was lost, and delivery goes on after this position. */
  onRestart(after: Position): void;
  /** Updates have been written to the live streams of one group. */
  onFlush(count: number, flushed: Flushed): void;
}

/**
 * The way of an update from the journal to the live subscriptions: through the window, to the groups whose
 * selection admits it. As a rule it takes it at once. What takes longer, because there are many updates, or many
 * templates that a new topic is to be compared with, is done in slices of time; the others wait behind it, in order.
 */
export class Delivery implements Follower {
  readonly #window: Window;
  readonly #frames: EntryFrames;
  readonly #endings: KnownEndings;
  /** Of the frames that the window holds. */
  readonly #memory = new FrameMemory();
  readonly #events: DeliveryEvents;
  readonly #arrivals = new Arrivals();
  #index = new SelectionIndex<Group>();
  #groups = new Map<string, Group>();
  /** What was followed and is not yet delivered, behind the first `#next`, which are. */
  #followed: Followed[] = [];
  #next = 0;
  #state: 'new' | 'open' | 'closed' = 'new';
  readonly #budget = new TurnBudget({ isUrgent: true });
  #scheduled: NodeJS.Immediate | undefined;
  readonly #times: PublishTimes;
  #count = 0;

  constructor(
    window: Window,
    frames: EntryFrames,
    endings: KnownEndings,
    times: PublishTimes,
    events: DeliveryEvents,
  ) {
    this.#times = times;
    this.#window = window;
    this.#frames = frames;
    this.#endings = endings;
    this.#events = events;
  }

  /** Begins after a position. What comes before this call waits for it. */
  open(after: Position): void {
    this.#window.restart(after);
    this.#arrivals.reach(after);
    this.#state = 'open';
    this.#deliverSome();
  }

  /** Delivers the journal's next entries, in order and after all that came before. */
  entries(entries: readonly Entry[]): void {
    for (const entry of entries) this.#followed.push(entry);
    this.#wake();
  }

  /**
   * Some entries up to here will not come. So the window begins anew, and streams that are live become cursors again:
   * what they have missed is read from the journal.
   */
  lost(through: Position): void {
    this.#followed.push({ lostThrough: through });
    this.#wake();
  }

  /**
   * Resolves when everything up to a position is delivered, with true; or with false if that takes too long, the
   * waiter closes or delivery ends.
   */
  reached(position: Position, waiter: Waiter): Promise<boolean> {
    return this.#arrivals.reached(position, waiter, () => this.#isOnItsWay(position));
  }

  /** Resolves when everything up to a position is delivered, or delivery ends. */
  delivered(position: Position): Promise<void> {
    return this.#arrivals.arrived(position);
  }

  /** How many updates have been followed and delivered, whoever published them. */
  get count(): number {
    return this.#count;
  }

  /** How many updates have been followed and are not yet delivered. */
  get waiting(): number {
    return this.#followed.length - this.#next;
  }

  /** Delivers no more. */
  close(): void {
    this.#state = 'closed';
    clearImmediate(this.#scheduled);
    this.#followed = [];
    this.#next = 0;
    this.#arrivals.close();
  }

  #wake(): void {
    if (this.#state === 'open' && this.#scheduled === undefined) this.#deliverSome();
  }

  #deliverSome(): void {
    this.#scheduled = undefined;
    while (this.#next < this.#followed.length) {
      const next = this.#followed[this.#next] as Followed;
      if (this.#budget.isOver || !this.#deliverOne(next)) {
        this.#scheduled = setImmediate(() => this.#deliverSome());
        break;
      }
      this.#next += 1;
    }
    // Moving what is left once half is gone costs a constant for each.
    if (this.#next * 2 >= this.#followed.length) {
      this.#followed = this.#followed.slice(this.#next);
      this.#next = 0;
    }
  }

  /** Returns whether it is delivered: if not, the time is over, and it is to be tried again. */
  #deliverOne(next: Followed): boolean {
    if ('lostThrough' in next) {
      this.#restart(next.lostThrough);
      return true;
    }
    // A journal that tells an entry again, as over a connection that was lost, must not send it again.
    if (comparePositions(next.position, this.#arrivals.through) <= 0) return true;
    const groups = this.#index.matching(next, this.#budget);
    if (groups === undefined) return false;
    const frame = this.#frames.encode(next, this.#memory);
    if (frame !== undefined) {
      // From here on in one turn: a client that found itself at the head before joins before, or has it to read.
      const before = this.#window.head;
      const update = this.#window.add(next, frame);
      let last: Group | undefined;
      for (const group of groups) {
        group.send(update, before);
        last = group;
      }
      this.#times.delivered(next, last);
    }
    this.#count += 1;
    this.#endings.deliver(next);
    if (next.last) void this.#finishThoseOver([...groups]);
    this.#arrivals.reach(next.position);
    return true;
  }

  /** All in one turn: nobody joins a group from a cursor that is before the hole. */
  #restart(lostThrough: Position): void {
    const before = this.#window.head;
    const through = later(this.#arrivals.through, lostThrough);
    this.#window.restart(through);
    this.#endings.restart(through);
    const groups = this.#groups;
    this.#groups = new Map();
    this.#index = new SelectionIndex();
    for (const group of groups.values()) group.disband(before);
    this.#arrivals.reach(through);
    this.#events.onRestart(through);
  }

  /** Whether what will be delivered next includes a position: it has come, and is not delivered yet. */
  #isOnItsWay(position: Position): boolean {
    const last = this.#followed.at(-1);
    if (last === undefined) return false;
    const through = 'lostThrough' in last ? last.lostThrough : last.position;
    return comparePositions(position, through) <= 0;
  }

  /** Makes a stream live that has everything up to the window's head: what is delivered from now on is sent to it. */
  join(stream: EventStream, selection: Selection): void {
    if (!stream.writable) return; // It would never leave its group.
    this.#groupOf(selection).join(stream);
  }

  /** Ends the streams of all groups whose topics have ended: for when endings have become known that were not delivered. */
  finishWhatIsOver(): Promise<void> {
    return this.#finishThoseOver([...this.#groups.values()]);
  }

  /** Whether a selection is live and was sent nothing after a cursor. */
  isQuietSince(selection: Selection, cursor: Cursor): boolean {
    const group = this.#groups.get(selection.key);
    return group !== undefined && !group.wasSentAfter(cursor);
  }

  /** In slices of time: each of ten thousand groups may ask for a hundred topics, of which all but one have ended. */
  async #finishThoseOver(groups: readonly Group[]): Promise<void> {
    const slice = finishing.begin();
    for (const group of groups) {
      if (slice.isOver) await slice.next();
      this.#finishIfOver(group);
    }
  }

  /** Ends a group's streams if all that they asked for has ended. */
  #finishIfOver(group: Group): void {
    const end = new SelectionEnd(this.#endings, group.selection);
    const last = end.look();
    if (last === 'unknown') void this.#findWhetherOver(group, end);
    else if (last !== undefined) this.#finish(group);
  }

  async #findWhetherOver(group: Group, end: SelectionEnd): Promise<void> {
    const slice = finishing.begin();
    while (end.look() === 'unknown') await end.find(slice);
    if (end.look() !== undefined) this.#finish(group);
  }

  #finish(group: Group): void {
    if (this.#groups.get(group.selection.key) !== group) return; // It was disbanded or finished meanwhile.
    this.#groups.delete(group.selection.key);
    this.#index.delete(group);
    group.finish();
  }

  #groupOf(selection: Selection): Group {
    const existing = this.#groups.get(selection.key);
    if (existing !== undefined) return existing;
    const group = new Group(selection, {
      onStall: this.#events.onStall,
      onLost: this.#events.onLost,
      onFlush: this.#events.onFlush,
      onEmpty: () => {
        // Another one may have taken its place if it was disbanded or finished.
        if (this.#groups.get(selection.key) !== group) return;
        this.#groups.delete(selection.key);
        this.#index.delete(group);
      },
    });
    this.#groups.set(selection.key, group);
    this.#index.add(group);
    return group;
  }
}

/** Of all groups that may be over, which may be many at the same time. */
const finishing = new SharedTime();
