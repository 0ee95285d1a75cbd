import type { Context, Middleware } from 'koa';
import type { Chat } from '../feeds/chat.js';
import type { SseContext } from '../sse/middleware.js';

const MAX_ID_CHARACTERS = 128;
const MAX_MESSAGE_CHARACTERS = 4_000;

/** `POST /message?id=USER` with a `message`, as JSON or as a form. */
export function postMessage(chat: Chat): Middleware {
  return function postMessage(ctx) {
    const user_id = text(ctx, 'id', ctx.query.id, MAX_ID_CHARACTERS);
    if (ctx.request.length !== 0 && ctx.is('json', 'urlencoded') === false) {
      ctx.throw(415, 'Send the message as application/json or application/x-www-form-urlencoded.');
    }
    const body = ctx.request.body as { message?: unknown } | undefined;
    const message = text(ctx, 'message', body?.message, MAX_MESSAGE_CHARACTERS);
    chat.post({ user_id, message });
    ctx.body = { user_id, message };
  };
}

/** `GET /messages?id=USER`: the list, then the list again after each message of somebody else. */
export function readMessages(chat: Chat): Middleware<object, SseContext> {
  return function readMessages(ctx) {
    chat.join(ctx.eventStream, [ctx.query.id].flat()[0]?.trim() || 'guest');
  };
}

/** The trimmed text of a field that must have one. */
function text(ctx: Context, name: 'id' | 'message', value: unknown, maxCharacters: number): string {
  const where = name === 'id' ? 'the query: /message?id=USER' : 'the body: {"message": "Hi"}';
  if (value === undefined) ctx.throw(400, `${name} is missing from ${where}.`);
  if (typeof value !== 'string') ctx.throw(400, `${name} must be one text in ${where}.`);
  const trimmed = value.trim();
  if (trimmed === '') ctx.throw(400, `${name} is blank in ${where}.`);
  if (trimmed.length > maxCharacters) {
    ctx.throw(400, `${name} is longer than the ${maxCharacters} characters allowed.`);
  }
  return trimmed;
}
