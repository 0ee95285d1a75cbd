import type { Selector } from './selector.js';

/** The members that have a template among their selectors. */
export interface TemplateMembers<Member> {
  readonly selector: Selector;
  readonly members: Set<Member>;
}

/** Which templates match a topic is remembered for this many topics. */
const MAX_CACHED_TOPICS = 10_000;

/**
 * Finds the templates that match a topic. Only those that start as it does are tried, and what they match is
 * remembered until a template comes or goes.
 */
export class TemplateSet<Member> {
  readonly #templates = new Map<string, TemplateMembers<Member>>();
  /** By what they start with, and that by its length: a topic is looked up once for each length there is. */
  readonly #byPrefix = new Map<number, Map<string, Set<TemplateMembers<Member>>>>();
  /** By topic. Cleared when a template comes or goes, and when it is full. */
  readonly #matching = new Map<string, readonly TemplateMembers<Member>[]>();

  add(selector: Selector, member: Member): void {
    let template = this.#templates.get(selector.text);
    if (template === undefined) {
      template = { selector, members: new Set() };
      this.#templates.set(selector.text, template);
      for (const prefix of selector.prefixes) this.#startingWith(prefix).add(template);
      this.#matching.clear();
    }
    template.members.add(member);
  }

  delete({ text }: Selector, member: Member): void {
    const template = this.#templates.get(text);
    if (template === undefined) return;
    template.members.delete(member);
    if (template.members.size > 0) return;
    this.#templates.delete(text);
    this.#matching.clear();
    for (const prefix of template.selector.prefixes) {
      const sameLength = this.#byPrefix.get(prefix.length);
      const templates = sameLength?.get(prefix);
      templates?.delete(template);
      if (templates?.size === 0) sameLength?.delete(prefix);
      if (sameLength?.size === 0) this.#byPrefix.delete(prefix.length);
    }
  }

  matching(topic: string): readonly TemplateMembers<Member>[] {
    if (this.#templates.size === 0) return [];
    let matching = this.#matching.get(topic);
    if (matching === undefined) {
      if (this.#matching.size >= MAX_CACHED_TOPICS) this.#matching.clear();
      matching = this.#match(topic);
      this.#matching.set(topic, matching);
    }
    return matching;
  }

  #match(topic: string): readonly TemplateMembers<Member>[] {
    const matching: TemplateMembers<Member>[] = [];
    for (const [length, sameLength] of this.#byPrefix) {
      if (length > topic.length) continue;
      for (const template of sameLength.get(topic.slice(0, length)) ?? []) {
        if (template.selector.matches(topic)) matching.push(template);
      }
    }
    return matching;
  }

  #startingWith(prefix: string): Set<TemplateMembers<Member>> {
    let sameLength = this.#byPrefix.get(prefix.length);
    if (sameLength === undefined) {
      sameLength = new Map();
      this.#byPrefix.set(prefix.length, sameLength);
    }
    let templates = sameLength.get(prefix);
    if (templates === undefined) {
      templates = new Set();
      sameLength.set(prefix, templates);
    }
    return templates;
  }
}
