import { PrefixIndex } from './prefix-index.js';
import type { Selector } from './selector.js';

interface Numbered {
  readonly sequence: number;
  readonly selector: Selector;
}

/** Many selectors, to ask of many topics: only templates that start as a topic does are tried on it. */
export class SelectorSet {
  readonly #texts = new Set<string>();
  readonly #templates = new PrefixIndex<Numbered>();
  readonly #any: boolean;

  constructor(selectors: readonly Selector[]) {
    this.#any = selectors.some(({ kind }) => kind === 'any');
    for (const [index, selector] of selectors.entries()) {
      if (this.#texts.has(selector.text)) continue;
      this.#texts.add(selector.text);
      if (selector.kind !== 'template') continue;
      this.#templates.add(selector.prefixes, { sequence: index + 1, selector });
    }
  }

  /** Whether any of the selectors matches a topic. */
  covers(topic: string): boolean {
    if (this.#any || this.#texts.has(topic)) return true;
    return this.#templates.candidates(topic).some(({ selector }) => selector.matches(topic));
  }
}
