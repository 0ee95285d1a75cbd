import type { Audience } from '../sse/audience.js';
import type { Selection } from '../topics/selection.js';
import type { Cursor } from './window.js';

/** The live subscriptions of one selection. They receive the same updates, so they are one audience. */
export interface Group {
  readonly selection: Selection;
  readonly audience: Audience;
  /** The newest update that it was sent. */
  sent: Cursor | undefined;
  /**
   * Before the first update of this turn of the event loop that is not yet written: everything up to here has
   * been written to its streams, and `sent` was the newest of its own. Undefined if all is written.
   */
  unwritten: { readonly after: Cursor; readonly sent: Cursor | undefined } | undefined;
}
