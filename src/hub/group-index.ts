import type { Audience } from '../sse/audience.js';
import type { Addressed, Selection } from './selection.js';
import { TemplateIndex } from './template-index.js';
import type { Cursor } from './window.js';

/** The live subscriptions of one selection. They receive the same updates, so they are one audience. */
export interface Group {
  readonly selection: Selection;
  readonly audience: Audience;
  /** The newest update that it was sent. */
  sent: Cursor | undefined;
  /**
   * Before the first update of this turn of the event loop that is not yet written: everything up to here has
   * been written to its streams, and `sent` was the newest of its own. Undefined if all is written.
   */
  unwritten: { readonly after: Cursor; readonly sent: Cursor | undefined } | undefined;
}

/**
 * Finds the groups that an update is for. The work follows the matches, not the clients.
 */
export class GroupIndex {
  readonly #any = new Set<Group>();
  readonly #exact = new Map<string, Set<Group>>();
  readonly #templates = new TemplateIndex();

  add(group: Group): void {
    for (const selector of group.selection.selectors) {
      if (selector.kind === 'any') this.#any.add(group);
      else if (selector.kind === 'template') this.#templates.add(selector, group);
      else {
        const groups = this.#exact.get(selector.text);
        if (groups === undefined) this.#exact.set(selector.text, new Set([group]));
        else groups.add(group);
      }
    }
  }

  delete(group: Group): void {
    for (const selector of group.selection.selectors) {
      if (selector.kind === 'any') this.#any.delete(group);
      else if (selector.kind === 'template') this.#templates.delete(selector, group);
      else {
        const groups = this.#exact.get(selector.text);
        groups?.delete(group);
        if (groups?.size === 0) this.#exact.delete(selector.text);
      }
    }
  }

  /** The groups that asked for an update and may see it, each once. */
  matching(update: Addressed): Iterable<Group> {
    const found = new Set(this.#any);
    for (const topic of update.topics) {
      for (const group of this.#exact.get(topic) ?? []) found.add(group);
      for (const { groups } of this.#templates.matching(topic)) {
        for (const group of groups) found.add(group);
      }
    }
    if (update.private) {
      for (const group of found) if (!group.selection.maySee(update)) found.delete(group);
    }
    return found;
  }
}
