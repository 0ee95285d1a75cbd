/**
 * Event streams on Koa: the middleware, streams and audiences, and the wire format alone.
 *
 * @module koa-sse-hub
 */

export {
  Audience,
  type AudienceFilter,
  type AudienceOptions,
  type Flushed,
} from './sse/audience.js';
export type { Backlog, CutReason } from './sse/backlog.js';
export type { DrainOptions } from './sse/drainage.js';
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
export { type SseContext, type SseMiddleware, sse } from './sse/middleware.js';
export type { AnyRequest, SseOptions } from './sse/open-streams.js';
export type { EventStreamSource, SourceItem } from './sse/send-all.js';
export {
  type AnyResponse,
  type EventStreams,
  type EventStreamsOptions,
  eventStreams,
  type ResponseHeaders,
  type ServeOptions,
} from './sse/serve.js';
