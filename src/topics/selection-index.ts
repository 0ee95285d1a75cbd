import { MemberSearch } from './member-search.js';
import { Members, type Selective } from './members.js';
import type { Addressed } from './selection.js';
import type { Slice } from './slice.js';

/** Fewer members than these are taken in one go. */
const FEW_MEMBERS = 1_000;

/** Finds whose selection admits an update. The work follows the matches, not the members. */
export class SelectionIndex<Member extends Selective> {
  readonly #all = new Members<Member>();
  /** Those that may see some private update: the templates of the others are not tried for one. */
  readonly #withGrants = new Members<Member>();
  /** Those that have not found all members in one slice. */
  readonly #searches = new Map<Addressed, MemberSearch<Member>>();

  add(member: Member): void {
    this.#all.add(member);
    if (member.selection.hasGrants) this.#withGrants.add(member);
    for (const search of this.#searches.values()) search.arrive(member);
  }

  delete(member: Member): void {
    this.#all.delete(member);
    if (member.selection.hasGrants) this.#withGrants.delete(member);
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
    const begun = this.#searches.get(update);
    if (begun === undefined && this.#isQuick(update)) return this.#known(update);
    const search = begun ?? this.#searchFor(update);
    const found = search.goOn(slice);
    if (found === undefined) this.#searches.set(update, search);
    else this.#searches.delete(update);
    return found;
  }

  /** Whether who an update is for is known without matching, and no more than a few. */
  #isQuick({ topics, private: isPrivate }: Addressed): boolean {
    const { templates, any, exact } = this.#all;
    if (isPrivate || templates.size > 0) return false;
    return (
      topics.reduce((sum, topic) => sum + (exact.get(topic)?.size ?? 0), any.size) < FEW_MEMBERS
    );
  }

  /** Who asked for a public update without a template: no work that could take long, and no search that is kept. */
  #known({ topics }: Addressed): Iterable<Member> {
    const { any, exact } = this.#all;
    const [topic] = topics;
    if (topics.length === 1 && any.size === 0) return [...(exact.get(topic as string) ?? [])];
    const found = new Set(any);
    for (const each of topics) {
      for (const member of exact.get(each) ?? []) found.add(member);
    }
    return found;
  }

  #searchFor(update: Addressed): MemberSearch<Member> {
    return new MemberSearch(update.private ? this.#withGrants : this.#all, update);
  }
}
