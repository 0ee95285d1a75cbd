// The global of this name is a getter of its own, which takes longer than the look at the clock.
import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** How long work of one kind may occupy one turn of the event loop. */
const BUDGET_MS = 5;

/** After a turn in which such work was cut short there are at least so many without it. */
const LIGHT_TURNS = 7;

/** How long one task of several has it before the next. */
const SLICE_MS = 2;

/** How many of them have it in one turn, if it takes them no time. */
const SLICES_PER_TURN = 8;

/** Has work done in the next turn of the event loop: once, however often it is asked for before that. */
export function inNextTurn(work: () => void): () => void {
  let isScheduled = false;
  const run = () => {
    isScheduled = false;
    work();
  };
  return () => {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(run);
  };
}

/** A share of time. What takes long looks at it now and then. */
export interface TimeSlice {
  /** Whether others are to have the event loop. */
  readonly isOver: boolean;
  /** Resolves when the work may go on, with a new slice. */
  next(): Promise<void>;
}

export interface TurnBudgetOptions {
  /** Whether this kind of work waits for its own long turns only, and not for those of others. */
  readonly isUrgent?: boolean;
  /**
   * Whether this kind of work pauses after a long turn for as long as it took, if anybody else had something to do
   * meanwhile: an update goes through several turns until it is published, and waits in each for what is under way.
   */
  readonly isPatient?: boolean;
}

/**
 * What work of one kind has of a turn of the event loop: 5 ms from the first look on. Where that was not enough, the
 * next turns are without such work, whatever its kind: see {@link Rest}.
 */
export class TurnBudget {
  readonly #isUrgent: boolean;
  readonly #isPatient: boolean;
  #isBegun = false;
  #end = 0;
  #pause: Promise<void> | undefined;

  constructor({ isUrgent = false, isPatient = false }: TurnBudgetOptions = {}) {
    this.#isUrgent = isUrgent;
    this.#isPatient = isPatient;
  }

  get isOver(): boolean {
    return this.isOverAt(performance.now());
  }

  /** The same for those who have looked at the clock. */
  isOverAt(now: number): boolean {
    if (rest.isUnderWay && !this.#isUrgent) return true;
    if (!this.#isBegun) {
      this.#isBegun = true;
      this.#end = now + BUDGET_MS;
      const events = this.#isPatient ? eventCount() : 0;
      setImmediate(() => this.#endTurn(now, events));
    }
    return now >= this.#end;
  }

  /** Resolves in the next turn, or at the end of a pause. Then there may be time again. */
  next(): Promise<void> {
    return this.#pause ?? nextTurn();
  }

  #endTurn(begunAt: number, events: number): void {
    const now = performance.now();
    if (now < this.#end) {
      this.#isBegun = false;
      return;
    }
    const tookMs = now - begunAt;
    rest.begin(tookMs, async () => {
      const restMs = now + tookMs - performance.now();
      if (this.#isPatient && restMs > 0 && eventCount() > events) {
        this.#pause = sleep(restMs);
        await this.#pause;
        this.#pause = undefined;
      }
      this.#isBegun = false;
    });
  }
}

/** How many events the system has told this process of. */
function eventCount(): number {
  return performance.nodeTiming.uvMetricsInfo.events;
}

/** To be called for each connection that is accepted. */
export function noteAccepted(): void {
  rest.hasAccepted = true;
}

/**
 * The turns after a long one. Node accepts one connection in each turn: with long turns alone, a client that comes
 * behind three hundred others waits for seconds until it is accepted. So a few turns are left to others; and more, as
 * long as each of them brings another connection, until they have had as much time as the long one.
 */
class Rest {
  isUnderWay = false;
  /** Whether a connection was accepted since the last look. */
  hasAccepted = false;
  #turns = 0;
  #until = 0;
  #whenOver: (() => void)[] = [];

  /** @param longMs how long the long turn was. */
  begin(longMs: number, whenOver: () => void): void {
    this.#turns = LIGHT_TURNS;
    this.#until = Math.max(this.#until, performance.now() + longMs);
    this.#whenOver.push(whenOver);
    this.hasAccepted = false;
    if (this.isUnderWay) return;
    this.isUnderWay = true;
    setImmediate(() => this.#endTurn());
  }

  #endTurn(): void {
    this.#turns -= 1;
    const goesOn = this.#turns > 0 || (this.hasAccepted && performance.now() < this.#until);
    this.hasAccepted = false;
    if (goesOn) {
      setImmediate(() => this.#endTurn());
      return;
    }
    this.isUnderWay = false;
    const whenOver = this.#whenOver;
    this.#whenOver = [];
    for (const each of whenOver) each();
  }
}

const rest = new Rest();

/**
 * The time of many tasks of one kind, such as the parsing of bodies. However many they are, all of them together
 * delay others by one budget; and a short one is not kept waiting by long ones, as each has a slice in its turn.
 */
export class SharedTime {
  readonly #budget = new TurnBudget();
  readonly #waiting: (() => void)[] = [];
  #scheduled = 0;

  /** The slice of a new task. */
  begin(): TimeSlice {
    let end = performance.now() + SLICE_MS;
    const budget = this.#budget;
    return {
      get isOver() {
        const now = performance.now();
        return now >= end || budget.isOverAt(now);
      },
      next: async () => {
        await new Promise<void>((resolve) => {
          this.#waiting.push(resolve);
          this.#schedule();
        });
        end = performance.now() + SLICE_MS;
      },
    };
  }

  #schedule(): void {
    if (this.#scheduled > 0) return;
    // One after the other: each works on before the next is called.
    this.#scheduled = Math.min(this.#waiting.length, SLICES_PER_TURN);
    for (let n = 0; n < this.#scheduled; n += 1) setImmediate(() => this.#wakeNext());
  }

  #wakeNext(): void {
    this.#scheduled -= 1;
    if (!this.#budget.isOver) this.#waiting.shift()?.();
    if (this.#waiting.length > 0) this.#schedule();
  }
}

/**
 * Work of which a herd may bring much at once, and of which only so many pieces are done in one turn of the event loop,
 * or less where they take long.
 */
export class TurnQueue {
  readonly #maxPerTurn: number;
  readonly #waiting = new Set<() => void>();
  readonly #budget = new TurnBudget();
  /** How many have not had to wait in this turn. */
  #atOnce = 0;
  readonly #schedule = inNextTurn(() => this.#doSome());

  constructor(maxPerTurn: number) {
    this.#maxPerTurn = maxPerTurn;
  }

  /** Does a piece of work in its turn. Returns whether that was at once. */
  add(work: () => void): boolean {
    this.#schedule();
    if (this.#waiting.size > 0 || this.#atOnce >= this.#maxPerTurn) {
      this.#waiting.add(work);
      return false;
    }
    this.#atOnce += 1;
    work();
    return true;
  }

  #doSome(): void {
    let left = this.#maxPerTurn - this.#atOnce;
    this.#atOnce = 0;
    for (const work of this.#waiting) {
      if (left === 0 || this.#budget.isOver) break;
      left -= 1;
      this.#waiting.delete(work);
      work();
    }
    if (this.#waiting.size > 0) this.#schedule();
  }
}
