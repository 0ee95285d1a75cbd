export {
  type AppendKey,
  type AppendOptions,
  type Entry,
  type EntryRef,
  type Journal,
  JournalError,
  type JournalErrorCode,
  type Position,
  type Update,
} from '../journal/journal.js';
export { type JournalOptions, openJournal } from '../journal/open.js';
export { type Selection, select } from '../topics/selection.js';
export { SelectorError } from '../topics/selector.js';
export {
  Hub,
  type HubOptions,
  type HubStatistics,
  type SubscribeOptions,
} from './hub.js';
export type { GapReason, Start } from './subscription.js';
export { type Publication, UpdateError, type ValidUpdates } from './update.js';
