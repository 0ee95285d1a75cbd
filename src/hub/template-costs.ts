import type { Selection } from '../topics/selection.js';
import type { Selector } from '../topics/selector.js';

/**
 * What the templates of all subscriptions cost together. A template counts once, however many have asked for it: it
 * is matched once.
 */
export class TemplateCosts {
  readonly #uses = new Map<string, number>();
  #total = 0;

  /** In units of {@link Selector.cost}. */
  get total(): number {
    return this.#total;
  }

  /** What the templates of a selection would add. */
  of(selection: Selection): number {
    return templatesOf(selection).reduce(
      (sum, { text, cost }) => sum + (this.#uses.has(text) ? 0 : cost),
      0,
    );
  }

  add(selection: Selection): void {
    for (const { text, cost } of templatesOf(selection)) {
      const uses = this.#uses.get(text) ?? 0;
      this.#uses.set(text, uses + 1);
      if (uses === 0) this.#total += cost;
    }
  }

  delete(selection: Selection): void {
    for (const { text, cost } of templatesOf(selection)) {
      const uses = this.#uses.get(text) ?? 0;
      if (uses > 1) {
        this.#uses.set(text, uses - 1);
      } else if (this.#uses.delete(text)) {
        this.#total -= cost;
      }
    }
  }
}

function templatesOf({ selectors }: Selection): readonly Selector[] {
  return selectors.filter(({ kind }) => kind === 'template');
}
