import type { Context, Middleware, Next } from 'koa';
import type { Chat } from '../feeds/chat.js';
import { ChatError } from '../feeds/post-queue.js';
import type { BodyState } from '../requests/body.js';
import { MAX_FORM_FIELDS, parseForm } from '../requests/form.js';
import { JsonError, parseJson } from '../requests/json.js';
import type { SseContext } from '../sse/middleware.js';

const ID_FIELD = { name: 'id', place: 'the query: ?id=USER', maxCharacters: 128 };
const MESSAGE_FIELD = {
  name: 'message',
  place: 'the body: {"message": "Hi"}',
  maxCharacters: 4_000,
};

/** Seconds after which to try again: posts that were too many at once, and a journal that needs help. */
const RETRY_SECONDS = { ERR_CHAT_BUSY: 1, ERR_CHAT_UNAVAILABLE: 5 };
/** What a body needs for the longest message, each character percent-encoded. */
export const MAX_CHAT_BODY_BYTES = 40 * 1024;

const FORM = 'application/x-www-form-urlencoded';

/** `POST /message?id=USER` with a `message`, as JSON or as a form. */
export function postMessage(chat: Chat): Middleware<BodyState> {
  return async function postMessage(ctx) {
    const user_id = requireText(ctx, ID_FIELD, ctx.query.id);
    if (ctx.request.length !== 0 && ctx.is('json', 'urlencoded') === false) {
      ctx.throw(415, 'Send the message as application/json or application/x-www-form-urlencoded.');
    }
    const { body } = ctx.state;
    const sent = ctx.is(FORM) ? fromForm(ctx, body) : fromJson(ctx, body);
    const message = requireText(ctx, MESSAGE_FIELD, sent);
    await chat.post({ user_id, message }).catch((error: unknown) => refuse(ctx, error));
    ctx.body = { user_id, message };
  };
}

/** What `GET` and `HEAD` of the list must have, before a stream begins. */
export function admitReader(chat: Chat): Middleware {
  return function admitReader(ctx, next: Next) {
    readerOf(ctx);
    if (chat.failure) refuse(ctx, chat.failure);
    return next();
  };
}

/** `GET /messages?id=USER`: the list, then the list again after each message of somebody else. */
export function readMessages(chat: Chat): Middleware<object, SseContext> {
  return function readMessages(ctx) {
    chat.join(ctx.eventStream, readerOf(ctx));
  };
}

function readerOf(ctx: Context): string {
  return requireText(ctx, ID_FIELD, ctx.query.id || 'guest');
}

/** A chat that cannot take a message has logged why, once; it is not for the log each time. */
function refuse(ctx: Context, error: unknown): never {
  if (!(error instanceof ChatError)) throw error;
  const headers = { 'Retry-After': String(RETRY_SECONDS[error.code]) };
  ctx.throw(503, error.message, { expose: true, headers });
}

/** The message of a form; a list if there are several. */
function fromForm(ctx: Context, body: string): unknown {
  const form = parseForm(body);
  if (form === undefined) ctx.throw(413, `The form has more than ${MAX_FORM_FIELDS} fields.`);
  const messages = form.getAll(MESSAGE_FIELD.name);
  return messages.length > 1 ? messages : messages[0];
}

function fromJson(ctx: Context, body: string): unknown {
  if (body === '') return undefined;
  try {
    const value = parseJson(body);
    if (typeof value === 'object' && value !== null)
      return (value as { message?: unknown }).message;
  } catch (error) {
    if (error instanceof JsonError) ctx.throw(400, error.message);
    throw error;
  }
  ctx.throw(400, 'The body is not valid JSON for a message: send {"message": "Hi"}.');
}

/** The trimmed text of a field that must have one. */
function requireText(ctx: Context, field: typeof ID_FIELD, value: unknown): string {
  const { name, place, maxCharacters } = field;
  if (value === undefined) ctx.throw(400, `${name} is missing from ${place}.`);
  if (typeof value !== 'string') ctx.throw(400, `${name} must be one text in ${place}.`);
  const trimmed = value.trim();
  if (trimmed === '') ctx.throw(400, `${name} is blank in ${place}.`);
  if (trimmed.length > maxCharacters) {
    ctx.throw(400, `${name} is longer than the ${maxCharacters} characters allowed.`);
  }
  return trimmed;
}
