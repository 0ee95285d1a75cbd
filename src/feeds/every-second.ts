/** A timer that is due at the start of every second of the wall clock, while somebody wants it. */
export interface SecondTimer {
  /** Starts the timer; one that runs already goes on. */
  start(): void;
}

/**
 * Makes a stopped timer. Each delay is measured anew from the wall clock, so that the timer does not drift.
 *
 * @param tick called with the time; it returns whether to go on. The timer does not keep the process alive.
 */
export function everySecond(tick: (now: Date) => boolean): SecondTimer {
  let timer: NodeJS.Timeout | undefined;

  function schedule(due: number): void {
    timer = setTimeout(() => run(due), due - Date.now()).unref();
  }

  function run(due: number): void {
    const now = Date.now();
    // Timers follow a clock of their own and may be due a moment before the second is; or the wall clock
    // was set back, and that second is far away.
    if (now < due) {
      schedule(nextSecond(now));
      return;
    }
    timer = undefined;
    if (tick(new Date(now))) schedule(nextSecond(now));
  }

  return {
    start() {
      if (timer === undefined) schedule(nextSecond(Date.now()));
    },
  };
}

function nextSecond(now: number): number {
  return (Math.floor(now / 1000) + 1) * 1000;
}
