import type { EventStream } from '../sse/event-stream.js';

/** A built-in source of events. */
export interface Feed {
  /** Sends a new listener what it is to see first, then everything to come until its stream closes. */
  join(stream: EventStream): void;
}
