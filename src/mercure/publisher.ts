import { createHash } from 'node:crypto';
import type { Grants } from '../auth/grants.js';

/** What an update's publisher is to the journal. */
export interface Publisher {
  readonly publisher: string;
  readonly scope: string;
}

/** Grants are those of a token that is remembered, so that this is found out once for many updates. */
const known = new WeakMap<Grants, Publisher>();

/**
 * Whose ids an update's own id is one of, and to whose share of the journal it counts. A scope is all who may
 * publish the same, whoever they are: they can repeat each other's updates anyway. A publisher is the `sub` of a
 * token or, without one, its scope. Both are digests: short, whatever a token says.
 */
export function publisherOf(grants: Grants): Publisher {
  const before = known.get(grants);
  if (before !== undefined) return before;
  const selectors = [...new Set(grants.publish.map(({ text }) => text))].sort();
  const scope = digest(['publish', ...selectors]);
  const { subject } = grants;
  const publisher = subject === undefined ? scope : digest(['sub', subject]);
  const found = { publisher, scope };
  known.set(grants, found);
  return found;
}

function digest(texts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('base64url').slice(0, 22);
}
