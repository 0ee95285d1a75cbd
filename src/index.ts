export { Audience, type AudienceFilter, type AudienceOptions } from './sse/audience.js';
export type { Backlog, CutReason } from './sse/backlog.js';
export type { AnyEvents, EventOf } from './sse/event-map.js';
export {
  type EndReason,
  EventStream,
  type EventStreamOptions,
  type StreamEnd,
} from './sse/event-stream.js';
export {
  encodeComment,
  encodeFrame,
  FrameError,
  type FrameErrorCode,
  type SseEvent,
} from './sse/frame.js';
export { type SseContext, type SseMiddleware, type SseOptions, sse } from './sse/middleware.js';
export type { EventStreamSource, SourceItem } from './sse/send-all.js';
