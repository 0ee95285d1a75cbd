import { startsOf } from '../topics/prefix-index.js';
import type { Selection } from '../topics/selection.js';
import type { Selector } from '../topics/selector.js';

/** What templates with the same start may cost before they count as many, in units of {@link Selector.cost}. */
const FREE_PER_START = 500;
/** All templates take memory, and so they have a limit too: so many times that of those that count as many. */
const TIMES_FOR_ALL = 10;

/**
 * What the templates of all subscriptions cost together. A template counts once, however many have asked for it: it is
 * matched once. A topic is matched only with templates that start as it does. So what counts is how much the templates
 * with the same start cost beyond 500 units, some 35 usual ones. What does not count is at most 500 units for each of
 * the 65 lengths that a start can have (see topics/prefix-index.ts).
 */
export class TemplateCosts {
  readonly #uses = new Map<string, number>();
  readonly #byStart = new Map<string, number>();
  #ofMany = 0;
  #ofAll = 0;

  /**
   * Whether the templates of a selection may be added.
   *
   * @param max what templates may cost that start like many others, all together. What adds nothing may always.
   */
  allows(selection: Selection, max: number): boolean {
    const ofMany = this.#ofMany;
    const ofAll = this.#ofAll;
    this.add(selection);
    const isTooMuch =
      (this.#ofMany > max && this.#ofMany > ofMany) ||
      (this.#ofAll > TIMES_FOR_ALL * max && this.#ofAll > ofAll);
    this.delete(selection);
    return !isTooMuch;
  }

  add(selection: Selection): void {
    for (const template of templatesOf(selection)) {
      const uses = this.#uses.get(template.text) ?? 0;
      this.#uses.set(template.text, uses + 1);
      if (uses === 0) this.#change(template, template.cost);
    }
  }

  delete(selection: Selection): void {
    for (const template of templatesOf(selection)) {
      const uses = this.#uses.get(template.text) ?? 0;
      if (uses > 1) {
        this.#uses.set(template.text, uses - 1);
      } else if (this.#uses.delete(template.text)) {
        this.#change(template, -template.cost);
      }
    }
  }

  #change({ prefixes }: Selector, cost: number): void {
    this.#ofAll += cost;
    for (const start of startsOf(prefixes)) {
      const before = this.#byStart.get(start) ?? 0;
      const after = before + cost;
      this.#ofMany += Math.max(0, after - FREE_PER_START) - Math.max(0, before - FREE_PER_START);
      if (after > 0) this.#byStart.set(start, after);
      else this.#byStart.delete(start);
    }
  }
}

function templatesOf({ selectors }: Selection): readonly Selector[] {
  return selectors.filter(({ kind }) => kind === 'template');
}
