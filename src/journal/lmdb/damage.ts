import type { Position } from '../journal.js';
import { type Place, toPosition } from './entry.js';

/** Entries that have been found damaged, and had not been before. */
export interface DamageReport {
  /** Some of their positions. */
  readonly positions: readonly Position[];
  /** How many they are… */
  readonly count: number;
  /** …and how many have been found since the journal was opened, these among them. */
  readonly total: number;
}

/** The damaged entries that a journal has met: reports each once. */
export class Damages {
  readonly #onDamage: (report: DamageReport) => void;
  readonly #known = new Set<Position>();
  #total = 0;
  #met = 0;

  constructor(onDamage: (report: DamageReport) => void = () => {}) {
    this.#onDamage = onDamage;
  }

  /** How often one has been met, again and again: to see whether it was in between. */
  get met(): number {
    return this.#met;
  }

  /** A check of all entries has found these, or some of so many. */
  found(places: readonly Place[], count: number): void {
    if (count === 0) return;
    for (const place of places.slice(0, MAX_KNOWN)) this.#known.add(toPosition(place));
    this.#total += count;
    const positions = places.slice(0, MAX_POSITIONS).map(toPosition);
    this.#onDamage({ positions, count, total: this.#total });
  }

  /** A read has come to one. */
  meet(place: Place): void {
    this.#met++;
    const position = toPosition(place);
    // With so many of them no line for each is of use to anybody.
    if (this.#known.has(position) || this.#known.size >= MAX_KNOWN) return;
    this.#known.add(position);
    this.#total++;
    this.#onDamage({ positions: [position], count: 1, total: this.#total });
  }
}

const MAX_KNOWN = 10_000;
const MAX_POSITIONS = 10;
