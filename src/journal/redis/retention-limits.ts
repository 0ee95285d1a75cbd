/** The limits of a journal's retention, as the script that trims is told of them. */

import type { Retention } from '../journal.js';
import { lastingLimits, Shares, transientLimits } from '../retention.js';

/** More than anything is. JSON knows no infinity. */
const NO_LIMIT = 2 ** 53;

export function scriptLimits(retention: Retention): Readonly<Record<string, number>> {
  const lasting = lastingLimits(retention);
  const transient = transientLimits(retention);
  const share = new Shares(retention).threshold;
  return {
    count: finite(lasting.count),
    bytes: finite(lasting.bytes),
    shareCount: finite(share.count),
    shareBytes: finite(share.bytes),
    transientCount: finite(transient.count),
    transientBytes: finite(transient.bytes),
    maxAge: retention.maxAgeMs,
  };
}

function finite(limit: number): number {
  return Math.min(limit, NO_LIMIT);
}
