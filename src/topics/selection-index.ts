import type { Addressed, Selection } from './selection.js';
import { Meter, type Slice, stepsOf } from './slice.js';
import { TemplateSet, type TopicRecord } from './template-set.js';

/** Whoever shares one selection, such as a group of live subscriptions. */
export interface Selective {
  readonly selection: Selection;
}

/** What is known of an update whose members were not found within one slice. */
interface Progress<Member> {
  readonly records: TopicRecord<Member>[];
  /** Of a private update, for each member: how many of its topics were found not granted; or that one is. */
  readonly grants: Map<Member, number | typeof GRANTED>;
}

const GRANTED = Symbol('granted');

/** Finds whose selection admits an update. The work follows the matches, not the members. */
export class SelectionIndex<Member extends Selective> {
  readonly #any = new Set<Member>();
  readonly #exact = new Map<string, Set<Member>>();
  readonly #templates = new TemplateSet<Member>();
  readonly #unfinished = new WeakMap<Addressed, Progress<Member>>();

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
    if (this.#templates.size === 0 && !update.private) return this.#known(update);
    const progress = this.#unfinished.get(update) ?? { records: [], grants: new Map() };
    const meter = new Meter(slice);
    const found = this.#askedFor(update, progress, meter);
    if (found === undefined || (update.private && !retainGranted(found, update, progress, meter))) {
      this.#unfinished.set(update, progress);
      return undefined;
    }
    this.#unfinished.delete(update);
    return found;
  }

  /** Who asked for an update without a template: no work that could take long. */
  #known({ topics }: Pick<Addressed, 'topics'>): Iterable<Member> {
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

  #askedFor(
    { topics }: Addressed,
    { records }: Progress<Member>,
    meter: Meter,
  ): Set<Member> | undefined {
    if (this.#templates.size > 0) {
      for (const [index, topic] of topics.entries()) {
        const record = records[index] ?? this.#templates.recordOf(topic);
        records[index] = record;
        if (!this.#templates.complete(record, meter)) return undefined;
      }
    }
    const found = new Set(this.#known({ topics }));
    // A template may match many of the topics. Its members are taken once.
    const [first, ...others] = this.#templates.size > 0 ? records : [];
    const templates =
      others.length === 0
        ? (first?.matching ?? [])
        : new Set([first, ...others].flatMap((record) => record?.matching ?? []));
    for (const { members } of templates) {
      for (const member of members ?? []) found.add(member);
    }
    return found;
  }
}

/** Takes away those that may not see a private update. Returns false if the slice is over before. */
function retainGranted<Member extends Selective>(
  found: Set<Member>,
  { topics }: Addressed,
  { grants }: Progress<Member>,
  meter: Meter,
): boolean {
  for (const member of found) {
    const { selection } = member;
    let known = grants.get(member) ?? 0;
    while (known !== GRANTED && known < topics.length) {
      const topic = topics[known] as string;
      known = selection.isGranted(topic) ? GRANTED : known + 1;
      if (meter.spend(stepsOf(selection.grantsCost, topic))) {
        grants.set(member, known);
        return false;
      }
    }
    grants.set(member, known);
    if (known !== GRANTED) found.delete(member);
  }
  return true;
}
