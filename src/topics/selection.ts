import { LRUCache } from 'lru-cache';
import { compileSelector, covers, type Selector, SelectorError, sizeOf } from './selector.js';
import { SelectorSet } from './selector-set.js';

/** What decides who receives an update. */
export interface Addressed {
  /** The topics that it is published under. */
  readonly topics: readonly string[];
  /** Whether it is for those alone who have a grant for one of its topics. */
  readonly private: boolean;
}

/**
 * What one subscriber asked for and may see. Subscriptions with the same key receive the same updates, and
 * so the same bytes.
 */
export class Selection {
  /** The same for all selections that receive the same updates. */
  readonly key: string;
  /** What the subscriber asked for. */
  readonly selectors: readonly Selector[];
  readonly #grants: readonly Selector[];
  /** What it takes at most to find out whether a topic is granted; in units of {@link Selector.cost}. */
  readonly grantsCost: number;
  /** The only topics it can match, `all`, or undefined if that depends on which topics there are. */
  readonly topics: 'all' | readonly string[] | undefined;

  /**
   * @param selectors what the subscriber asked for.
   * @param grants the selectors of its token, for private updates.
   */
  constructor(selectors: readonly Selector[], grants: readonly Selector[]) {
    this.selectors = selectors;
    this.#grants = grants;
    this.grantsCost = grants.reduce((sum, { cost }) => sum + cost, grants.length);
    this.key = JSON.stringify([textsOf(selectors), textsOf(grants)]);
    if (selectors.some(({ kind }) => kind === 'any')) this.topics = 'all';
    else if (selectors.every(({ kind }) => kind === 'exact')) this.topics = textsOf(selectors);
  }

  /** What it keeps at most: its selectors, compiled. */
  get bytes(): number {
    return [...this.selectors, ...this.#grants].reduce((sum, each) => sum + sizeOf(each), 1_000);
  }

  /** Whether it may see any private update at all. */
  get hasGrants(): boolean {
    return this.#grants.length > 0;
  }

  /** Whether an update is for this subscriber: asked for by one of its topics, and granted if private. */
  admits(update: Addressed): boolean {
    return this.#asksFor(update) && this.maySee(update);
  }

  /** Whether an update that was asked for may be seen. */
  maySee(update: Addressed): boolean {
    return !update.private || update.topics.some((topic) => this.isGranted(topic));
  }

  /** Whether private updates of a topic may be seen. */
  isGranted(topic: string): boolean {
    return covers(this.#grants, topic);
  }

  /**
   * Whether it may receive some private update of a topic that starts with a text. A template is looked at no
   * further than to its first variable.
   */
  mayReceivePrivate(start: string): boolean {
    const reaches = ({ kind, prefixes }: Selector) =>
      prefixes.some(
        (prefix) => prefix.startsWith(start) || (kind !== 'exact' && start.startsWith(prefix)),
      );
    return this.selectors.some(reaches) && this.#grants.some(reaches);
  }

  /** Whether it can match an update of this topic. */
  asksForTopic(topic: string): boolean {
    return this.topics === 'all' || setOf(this).covers(topic);
  }

  #asksFor({ topics }: Addressed): boolean {
    return topics.some((topic) => this.asksForTopic(topic));
  }
}

/**
 * The selection of these topic selectors, with grants for private updates.
 *
 * @throws {SelectorError} if there is no selector, which would select nothing, or if one has more than 1,024 bytes or
 *   more than 20 variables.
 */
export function select(selectors: readonly string[], grants: readonly string[] = []): Selection {
  if (selectors.length === 0) {
    throw new SelectorError(
      'A selection has at least one topic, URI template or *: this one has none.',
    );
  }
  return new Selection(selectors.map(compileSelector), grants.map(compileSelector));
}

/**
 * The selectors of those who catch up, who ask for topics one after the other. A set of 100 selectors takes some
 * 20 KB and 50 µs to make: it is not kept by those who are live, of which there are many more. A selection stays here
 * for a while when its client has gone, so they are bounded in bytes.
 */
const sets = new LRUCache<Selection, SelectorSet>({
  max: 256,
  maxSize: 4 * 1024 * 1024,
  // Even the largest is kept, or it would be made anew for each topic.
  sizeCalculation: (_, { bytes }) => Math.min(bytes, 1024 * 1024),
});

function setOf(selection: Selection): SelectorSet {
  let set = sets.get(selection);
  if (set === undefined) {
    set = new SelectorSet(selection.selectors);
    sets.set(selection, set);
  }
  return set;
}

function textsOf(selectors: readonly Selector[]): string[] {
  if (selectors.length < 2) return selectors.map(({ text }) => text); // As most are.
  return [...new Set(selectors.map(({ text }) => text))].sort();
}
