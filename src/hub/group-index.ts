import type { Audience } from '../sse/audience.js';
import type { Addressed, Selection } from './selection.js';
import type { Selector } from './selector.js';
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

/** Which template selectors match a topic is remembered for this many topics. */
const MAX_CACHED_TOPICS = 10_000;

interface TemplateGroups {
  readonly selector: Selector;
  readonly groups: Set<Group>;
}

/**
 * Finds the groups that an update is for. The work follows the matches, not the clients: exact selectors are
 * looked up, and what templates match a topic is remembered, until a template comes or goes.
 */
export class GroupIndex {
  readonly #any = new Set<Group>();
  readonly #exact = new Map<string, Set<Group>>();
  readonly #templates = new Map<string, TemplateGroups>();
  /** The templates that match a topic. Cleared when a template comes or goes, and when it is full. */
  readonly #matchingTemplates = new Map<string, TemplateGroups[]>();

  add(group: Group): void {
    for (const selector of group.selection.selectors) this.#groupsOf(selector).add(group);
  }

  delete(group: Group): void {
    for (const selector of group.selection.selectors) {
      const groups = this.#groupsOf(selector);
      groups.delete(group);
      if (groups.size > 0) continue;
      if (selector.kind === 'exact') this.#exact.delete(selector.text);
      if (selector.kind === 'template') {
        this.#templates.delete(selector.text);
        this.#matchingTemplates.clear();
      }
    }
  }

  /** The groups that asked for an update and may see it, each once. */
  matching(update: Addressed): Iterable<Group> {
    const found = new Set(this.#any);
    for (const topic of update.topics) {
      for (const group of this.#exact.get(topic) ?? []) found.add(group);
      if (this.#templates.size === 0) continue;
      for (const { groups } of this.#templatesFor(topic)) {
        for (const group of groups) found.add(group);
      }
    }
    if (update.private) {
      for (const group of found) if (!group.selection.maySee(update)) found.delete(group);
    }
    return found;
  }

  #groupsOf(selector: Selector): Set<Group> {
    if (selector.kind === 'any') return this.#any;
    if (selector.kind === 'exact') {
      let groups = this.#exact.get(selector.text);
      if (groups === undefined) {
        groups = new Set();
        this.#exact.set(selector.text, groups);
      }
      return groups;
    }
    let template = this.#templates.get(selector.text);
    if (template === undefined) {
      template = { selector, groups: new Set() };
      this.#templates.set(selector.text, template);
      this.#matchingTemplates.clear();
    }
    return template.groups;
  }

  #templatesFor(topic: string): TemplateGroups[] {
    let matching = this.#matchingTemplates.get(topic);
    if (matching === undefined) {
      if (this.#matchingTemplates.size >= MAX_CACHED_TOPICS) this.#matchingTemplates.clear();
      matching = [...this.#templates.values()].filter(({ selector }) => selector.matches(topic));
      this.#matchingTemplates.set(topic, matching);
    }
    return matching;
  }
}
