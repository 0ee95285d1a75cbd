import { MemberSearch, type Selective } from './member-search.js';
import type { Addressed } from './selection.js';
import type { Slice } from './slice.js';
import { TemplateSet } from './template-set.js';

export type { Selective } from './member-search.js';

/** So many members are taken in one go. */
const FEW_MEMBERS = 1_000;

/** Finds whose selection admits an update. The work follows the matches, not the members. */
export class SelectionIndex<Member extends Selective> {
  readonly #any = new Set<Member>();
  readonly #exact = new Map<string, Set<Member>>();
  readonly #templates = new TemplateSet<Member>();
  readonly #withTemplates = new Set<Member>();
  readonly #members = {
    any: this.#any,
    exact: this.#exact,
    templates: this.#templates,
    withTemplates: this.#withTemplates,
  };
  /** Those that have not found all members in one slice. */
  readonly #searches = new Map<Addressed, MemberSearch<Member>>();

  add(member: Member): void {
    for (const selector of member.selection.selectors) {
      if (selector.kind === 'any') this.#any.add(member);
      else if (selector.kind === 'template') {
        this.#templates.add(selector, member);
        this.#withTemplates.add(member);
      } else {
        const members = this.#exact.get(selector.text);
        if (members === undefined) this.#exact.set(selector.text, new Set([member]));
        else members.add(member);
      }
    }
    for (const search of this.#searches.values()) search.arrive(member);
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
    this.#withTemplates.delete(member);
    for (const search of this.#searches.values()) search.leave(member);
  }

  /**
   * The members that asked for an update and may see it, each once, as they are at the moment of the call that
   * returns them.
   *
   * @param slice how long to look for them. When it is over this returns undefined, and is to be called again
   *   with the same update and another slice, to go on where it has stopped; members may come and go between.
   *   Each call makes some progress. Without a slice the members are always returned.
   */
  matching(update: Addressed): Iterable<Member>;
  matching(update: Addressed, slice: Slice): Iterable<Member> | undefined;
  matching(update: Addressed, slice?: Slice): Iterable<Member> | undefined {
    if (this.#templates.size === 0 && !update.private && this.#any.size < FEW_MEMBERS) {
      return this.#known(update);
    }
    const search = this.#searches.get(update) ?? new MemberSearch(this.#members, update);
    const found = search.goOn(slice);
    if (found === undefined) this.#searches.set(update, search);
    else this.#searches.delete(update);
    return found;
  }

  /** Who asked for a public update without a template: no work that could take long, and no search that is kept. */
  #known({ topics }: Addressed): Iterable<Member> {
    const [topic] = topics;
    if (topics.length === 1 && this.#any.size === 0) {
      return [...(this.#exact.get(topic as string) ?? [])];
    }
    const found = new Set(this.#any);
    for (const each of topics) {
      for (const member of this.#exact.get(each) ?? []) found.add(member);
    }
    return found;
  }
}
