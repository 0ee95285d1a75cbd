import type { SseEvent } from './frame.js';

/** Any event: what streams and audiences send whose events have no types. */
// biome-ignore lint/suspicious/noExplicitAny: so that streams with and without types fit each other.
export type AnyEvents = any;

/**
 * The events that a stream sends whose events have types: their names, and what each of them carries.
 *
 * ```ts
 * interface Events {
 *   token: string; // Sent as data.
 *   progress: { done: number }; // Sent as json.
 * }
 * ```
 *
 * An event `message` may go without its name. One without a payload, of `id` and `retry` alone, is always allowed.
 */
export type EventOf<Events extends object> = string extends keyof Events
  ? SseEvent
  : NamedEvent<Events> | WithoutPayload;

type NamedEvent<Events extends object> = {
  [Name in keyof Events & string]: Omit<SseEvent, 'event' | 'data' | 'json'> &
    NameField<Name> &
    PayloadField<Events[Name]>;
}[keyof Events & string];

type NameField<Name extends string> = Name extends 'message'
  ? { readonly event?: Name }
  : { readonly event: Name };

type PayloadField<Payload> = [Payload] extends [string]
  ? { readonly data: Payload; readonly json?: never }
  : { readonly json: Payload; readonly data?: never };

type WithoutPayload = Pick<SseEvent, 'id' | 'retry'> & {
  readonly event?: never;
  readonly data?: never;
  readonly json?: never;
};
