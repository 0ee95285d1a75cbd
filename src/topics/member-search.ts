import type { Members, Selective } from './members.js';
import type { Addressed } from './selection.js';
import type { Selector } from './selector.js';
import { Meter, type Slice, stepsOf } from './slice.js';
import type { TemplateMembers } from './template-set.js';

/** To take a member takes about as long as some steps of matching. */
const STEPS_PER_MEMBER = 6;
/** So many members of a template are looked up, or taken, in one go. Of more it is noted that they were taken. */
const FEW_MEMBERS = 16;

/**
 * Looks for the members that one update is for, and keeps where it stopped from one slice to the next. A template whose
 * members are all found already is not tried: it could only find them again.
 */
export class MemberSearch<Member extends Selective> {
  readonly #members: Members<Member>;
  readonly #update: Addressed;
  readonly #found = new Set<Member>();
  /** Templates with more than a few members, all of which were found. */
  readonly #taken = new Set<TemplateMembers<Member>>();
  /** Those who have come since the search began. They are asked one by one … */
  readonly #arrived = new Set<Member>();
  /** … but for each selector once: whether it matches one of the topics. */
  readonly #answers = new Map<string, boolean>();
  readonly #work: Iterator<undefined>;
  #meter = new Meter(undefined);

  /** @param members who may be found; of a private update those with grants. */
  constructor(members: Members<Member>, update: Addressed) {
    this.#members = members;
    this.#update = update;
    this.#work = this.#search();
  }

  /** Goes on for a slice. Returns the members once all are found, those who are there at that moment. */
  goOn(slice: Slice | undefined): Set<Member> | undefined {
    this.#meter = new Meter(slice);
    return this.#work.next().done ? this.#found : undefined;
  }

  arrive(member: Member): void {
    if (this.#update.private && !member.selection.hasGrants) return;
    this.#arrived.add(member);
  }

  leave(member: Member): void {
    this.#arrived.delete(member);
    this.#found.delete(member);
  }

  /** Stops, with nothing, wherever the slice is over. */
  *#search(): Generator<undefined, void> {
    const { any, exact, templates, withTemplates } = this.#members;
    const { topics } = this.#update;
    yield* this.#take(any);
    for (const topic of topics) yield* this.#take(exact.get(topic));
    if (templates.size > 0) {
      for (const [index, topic] of topics.entries()) {
        if (index > 0) {
          if (this.#hasAllWithTemplates()) break;
          if (this.#meter.spend(withTemplates.size)) yield;
        }
        yield* this.#match(topic);
      }
    }
    if (this.#update.private) {
      for (const member of this.#found) {
        if (!(yield* this.#isGranted(member))) this.#found.delete(member);
      }
    }
    // Those that arrive while others are asked come at the end. Who has left is not among them.
    for (const member of this.#arrived) {
      if (!(yield* this.#asksFor(member))) continue;
      if (this.#update.private && !(yield* this.#isGranted(member))) continue;
      if (this.#arrived.has(member)) this.#found.add(member);
    }
  }

  /** Finds the members whose templates match a topic. */
  *#match(topic: string): Generator<undefined, void> {
    const { templates } = this.#members;
    const record = templates.borrow(topic);
    yield* this.#takeOf(record.matching);
    const skipped: TemplateMembers<Member>[] = [];
    for (let next = record.untested.pop(); next !== undefined; next = record.untested.pop()) {
      const { selector } = next;
      if (selector === undefined) continue;
      let steps = FEW_MEMBERS;
      if (this.#hasAllOf(next)) {
        skipped.push(next);
      } else {
        steps = stepsOf(selector.cost, topic);
        if (selector.matches(topic)) {
          record.matching.push(next);
          yield* this.#takeOf([next]);
        }
      }
      if (this.#meter.spend(steps)) yield;
    }
    record.untested = skipped.reverse();
    templates.giveBack(record);
  }

  *#takeOf(templates: readonly TemplateMembers<Member>[]): Generator<undefined, void> {
    for (const template of templates) {
      const { members } = template;
      if (members === undefined || this.#taken.has(template)) continue;
      if (members.size > FEW_MEMBERS) {
        this.#taken.add(template);
        yield* this.#take(members);
      } else {
        for (const member of members) this.#found.add(member);
        if (this.#meter.spend(STEPS_PER_MEMBER * members.size)) yield;
      }
    }
  }

  /** A set of which members may leave meanwhile: they are not found then. */
  *#take(members: Iterable<Member> = []): Generator<undefined, void> {
    for (const member of members) {
      this.#found.add(member);
      if (this.#meter.spend(STEPS_PER_MEMBER)) yield;
    }
  }

  #hasAllOf(template: TemplateMembers<Member>): boolean {
    if (this.#taken.has(template)) return true;
    const { members } = template;
    if (members === undefined || members.size > FEW_MEMBERS) return false;
    for (const member of members) if (!this.#found.has(member)) return false;
    return true;
  }

  /** Whether no template could find anybody else. */
  #hasAllWithTemplates(): boolean {
    for (const member of this.#members.withTemplates) {
      if (!this.#found.has(member)) return false;
    }
    return true;
  }

  *#asksFor({ selection }: Member): Generator<undefined, boolean> {
    for (const selector of selection.selectors) {
      const known = this.#answers.get(selector.text);
      const isMatch = known ?? (yield* this.#isMatched(selector));
      if (known === undefined) this.#answers.set(selector.text, isMatch);
      if (isMatch) return true;
    }
    return false;
  }

  *#isMatched({ cost, matches }: Selector): Generator<undefined, boolean> {
    for (const topic of this.#update.topics) {
      const isMatch = matches(topic);
      if (this.#meter.spend(stepsOf(cost, topic))) yield;
      if (isMatch) return true;
    }
    return false;
  }

  *#isGranted({ selection }: Member): Generator<undefined, boolean> {
    for (const topic of this.#update.topics) {
      const isGranted = selection.isGranted(topic);
      if (this.#meter.spend(stepsOf(selection.grantsCost, topic))) yield;
      if (isGranted) return true;
    }
    return false;
  }
}
