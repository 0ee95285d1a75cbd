/**
 * The contract of a journal, for those who write a keeper of their own.
 *
 * @module koa-sse-hub/journal
 */

export {
  type AppendKey,
  type AppendOptions,
  BEGINNING,
  comparePositions,
  ENDING_MAX_AGE_MS,
  type Ending,
  type Entry,
  type EntryRef,
  type Follower,
  type Following,
  isPosition,
  type Journal,
  JournalError,
  type JournalErrorCode,
  type JournalSize,
  KEY_MAX_AGE_MS,
  type Location,
  MAX_ENDINGS_BYTES,
  MAX_KEYS_BYTES,
  type NewestOptions,
  type Position,
  parsePosition,
  type ReadRange,
  type ReadResult,
  type Retention,
  type TrimmedTopic,
  type Update,
  type Visibility,
} from './journal.js';
