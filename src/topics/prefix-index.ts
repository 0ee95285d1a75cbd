/** What is found by the start of a topic. */
export interface Sequenced {
  /** Those that are added later have greater ones. */
  readonly sequence: number;
}

/** More of a prefix does not tell much more, and a topic is looked up once for each length there is. */
const MAX_PREFIX_LENGTH = 64;

/** Finds those that could match a topic by what it starts with. */
export class PrefixIndex<Item extends Sequenced> {
  /** By length, then by text: in ascending order, so that the newest are found without the others. */
  readonly #byLength = new Map<number, Map<string, Item[]>>();

  /** @param prefixes a topic starts with one of these. */
  add(prefixes: readonly string[], item: Item): void {
    for (const prefix of startsOf(prefixes)) {
      let sameLength = this.#byLength.get(prefix.length);
      if (sameLength === undefined) {
        sameLength = new Map();
        this.#byLength.set(prefix.length, sameLength);
      }
      const items = sameLength.get(prefix);
      if (items === undefined) sameLength.set(prefix, [item]);
      else items.push(item);
    }
  }

  delete(prefixes: readonly string[], item: Item): void {
    for (const prefix of startsOf(prefixes)) {
      const sameLength = this.#byLength.get(prefix.length);
      const items = sameLength?.get(prefix);
      if (sameLength === undefined || items === undefined) continue;
      const index = firstAfter(items, item.sequence - 1);
      if (items[index] === item) items.splice(index, 1);
      if (items.length === 0) sameLength.delete(prefix);
      if (sameLength.size === 0) this.#byLength.delete(prefix.length);
    }
  }

  /** Those that were added after a sequence number and could match a topic, each once. */
  candidates(topic: string, after = 0): Item[] {
    const found: Item[] = [];
    for (const [length, sameLength] of this.#byLength) {
      if (length > topic.length) continue;
      const items = sameLength.get(topic.slice(0, length));
      if (items === undefined) continue;
      for (let index = firstAfter(items, after); index < items.length; index++) {
        found.push(items[index] as Item);
      }
    }
    return found;
  }
}

/** What is looked up: prefixes, cut. Two of them may be one then. */
export function startsOf(prefixes: readonly string[]): Iterable<string> {
  return new Set(prefixes.map((prefix) => prefix.slice(0, MAX_PREFIX_LENGTH)));
}

function firstAfter(items: readonly Sequenced[], sequence: number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((items[middle] as Sequenced).sequence <= sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
