import type { Journal, Retention } from '../journal.js';

/** A keeper of journals, as its tests hand it to the cases of the contract. */
export interface Keeper {
  /** Opens a journal that nothing has been appended to. The case closes it. */
  open(retention: Retention): Promise<Journal>;
  /** What it counts in bytes beside their text. */
  readonly overhead: {
    /** For an update. */
    readonly update: number;
    /** For each of its topics. */
    readonly topic: number;
  };
  /**
   * Opens another handle on an open journal, as another process has it. The case closes it before the first. A keeper
   * that one process has alone leaves it out.
   */
  openSecond?(journal: Journal): Promise<Journal>;
  /**
   * Sets the clock that the keeper measures ages with, in milliseconds since 1970; undefined sets it right again. A
   * keeper whose clock is not this process's leaves it out.
   */
  setClock?(time: number | undefined): void;
}

/** One thing that the contract asks of a keeper. */
export interface ContractCase {
  /** What is claimed. */
  readonly name: string;
  /** Throws an `AssertionError` if it does not hold. Some take seconds. */
  run(): Promise<void>;
}

/** What a case has at hand. */
export interface Context {
  /** A new journal that keeps everything, but for what is said. */
  open(retention?: Partial<Retention>): Promise<Journal>;
  openSecond(journal: Journal): Promise<Journal>;
  setClock(time: number): void;
  readonly overhead: Keeper['overhead'];
}

/** Cases about the same thing. */
export interface Group {
  readonly name: string;
  /** What a keeper must have for them. */
  readonly needs: readonly (keyof Keeper)[];
  readonly cases: readonly { readonly name: string; readonly run: Run }[];
}

type Run = (context: Context) => Promise<void>;

export function group(
  name: string,
  define: (test: (name: string, run: Run) => void) => void,
  needs: Group['needs'] = [],
): Group {
  const cases: { name: string; run: Run }[] = [];
  define((each, run) => cases.push({ name: each, run }));
  return { name, needs, cases };
}

/** The cases of a group, for a keeper: none if it lacks what they need. */
export function casesFor({ name, needs, cases }: Group, keeper: Keeper): ContractCase[] {
  if (needs.some((need) => keeper[need] === undefined)) return [];
  return cases.map((each) => ({
    name: `${name}: ${each.name}`,
    run: () => runOnce(each.run, keeper),
  }));
}

async function runOnce(run: Run, keeper: Keeper): Promise<void> {
  const opened: Journal[] = [];
  const noting = async (opening: Promise<Journal> | undefined): Promise<Journal> => {
    const journal = (await opening) as Journal;
    opened.push(journal);
    return journal;
  };
  try {
    await run({
      open: (retention) =>
        noting(keeper.open({ maxUpdates: 1_000_000, maxAgeMs: 0, ...retention })),
      openSecond: (journal) => noting(keeper.openSecond?.(journal)),
      setClock: (time) => keeper.setClock?.(time),
      overhead: keeper.overhead,
    });
  } finally {
    keeper.setClock?.(undefined);
    for (const journal of opened.toReversed()) await journal.close();
  }
}
