/// <reference types="node" preserve="true" />
// Declarations below name Buffer. TypeScript 7 loads the types of Node only where something refers to them.

/**
 * Publish and subscribe over an ordered journal, for an app that serves the streams itself.
 *
 * @module koa-sse-hub/hub
 */

export {
  type AppendKey,
  type AppendOptions,
  type Ending,
  type Entry,
  type EntryRef,
  type Journal,
  JournalError,
  type JournalErrorCode,
  type JournalSize,
  type Position,
  type Update,
} from '../journal/journal.js';
export type { DamageReport } from '../journal/lmdb/damage.js';
export type { Notice, OnNotice } from '../journal/notice.js';
export { type JournalOptions, openJournal } from '../journal/open.js';
export type { Log, LogEntry, LogLevel } from '../log.js';
export type { Flushed } from '../sse/audience.js';
export { type Addressed, type Selection, select } from '../topics/selection.js';
export { type Selector, SelectorError } from '../topics/selector.js';
export type { Waiter } from './arrivals.js';
export {
  type CatchUpCause,
  Hub,
  type HubObserver,
  type HubOptions,
  type HubStatistics,
  type SubscribeOptions,
} from './hub.js';
export type {
  LastOf,
  SourceUpdate,
  Streamed,
  StreamOptions,
  UpdateSource,
} from './stream-source.js';
export type { Gap, GapReason, Start } from './subscription.js';
export { type Publication, UpdateError, type ValidUpdates } from './update.js';
export type { WindowSize } from './window.js';
