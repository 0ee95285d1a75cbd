import type { Addressed, Selection } from './selection.js';
import { TemplateSet } from './template-set.js';

/** Whoever shares one selection, such as a group of live subscriptions. */
export interface Selective {
  readonly selection: Selection;
}

/** Finds whose selection admits an update. The work follows the matches, not the members. */
export class SelectionIndex<Member extends Selective> {
  readonly #any = new Set<Member>();
  readonly #exact = new Map<string, Set<Member>>();
  readonly #templates = new TemplateSet<Member>();

  add(member: Member): void {
    for (const selector of member.selection.selectors) {
      if (selector.kind === 'any') this.#any.add(member);
      else if (selector.kind === 'template') this.#templates.add(selector, member);
      else {
        const members = this.#exact.get(selector.text);
        if (members === undefined) this.#exact.set(selector.text, new Set([member]));
        else members.add(member);
      }
    }
  }

  delete(member: Member): void {
    for (const selector of member.selection.selectors) {
      if (selector.kind === 'any') this.#any.delete(member);
      else if (selector.kind === 'template') this.#templates.delete(selector, member);
      else {
        const members = this.#exact.get(selector.text);
        members?.delete(member);
        if (members?.size === 0) this.#exact.delete(selector.text);
      }
    }
  }

  /** The members that asked for an update and may see it, each once. */
  matching(update: Addressed, _slice?: { readonly isOver: boolean }): Iterable<Member> | undefined {
    const found = new Set(this.#any);
    for (const topic of update.topics) {
      for (const member of this.#exact.get(topic) ?? []) found.add(member);
      for (const { members } of this.#templates.matching(topic)) {
        for (const member of members) found.add(member);
      }
    }
    if (update.private) {
      for (const member of found) if (!member.selection.maySee(update)) found.delete(member);
    }
    return found;
  }
}
