import type { Selection } from './selection.js';
import { TemplateSet } from './template-set.js';

/** Whoever shares one selection, such as a group of live subscriptions. */
export interface Selective {
  readonly selection: Selection;
}

/** Members by what they ask for. */
export class Members<Member extends Selective> {
  readonly any = new Set<Member>();
  readonly exact = new Map<string, Set<Member>>();
  readonly templates = new TemplateSet<Member>();
  readonly withTemplates = new Set<Member>();

  add(member: Member): void {
    for (const selector of member.selection.selectors) {
      if (selector.kind === 'any') this.any.add(member);
      else if (selector.kind === 'template') {
        this.templates.add(selector, member);
        this.withTemplates.add(member);
      } else {
        const members = this.exact.get(selector.text);
        if (members === undefined) this.exact.set(selector.text, new Set([member]));
        else members.add(member);
      }
    }
  }

  delete(member: Member): void {
    for (const selector of member.selection.selectors) {
      if (selector.kind === 'any') this.any.delete(member);
      else if (selector.kind === 'template') this.templates.delete(selector, member);
      else {
        const members = this.exact.get(selector.text);
        members?.delete(member);
        if (members?.size === 0) this.exact.delete(selector.text);
      }
    }
    this.withTemplates.delete(member);
  }
}
