/** What clients without a token may have to go without. */
export const ANONYMOUS_RESTRICTIONS = ['no-templates', 'no-replay', 'no-latest'] as const;

/** One thing that clients without a token may have to go without. */
export type AnonymousRestriction = (typeof ANONYMOUS_RESTRICTIONS)[number];
