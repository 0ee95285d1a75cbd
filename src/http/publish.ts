import type { Context, Middleware } from 'koa';
import { z } from 'zod';
import type { Grants } from '../auth/grants.js';
import type { Hub } from '../hub/hub.js';
import { HUB_PATH } from '../hub/path.js';
import { isPosition, type Update } from '../journal/journal.js';
import { type Authorizer, refuseScope, requireTopics } from './auth.js';
import { IdempotencyMemory } from './idempotency.js';

export const MAX_TOPICS_PER_UPDATE = 100;
export const MAX_TOPIC_BYTES = 1_024;
export const MAX_ID_BYTES = 256;
export const MAX_TYPE_BYTES = 256;

const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';
const NDJSON = 'application/x-ndjson';

/** The types of a body that publishes, for the parser that reads it as text. */
export const PUBLISH_TYPES = [FORM, JSON_TYPE, NDJSON];

/** What is known of a publisher before its body is read. */
interface PublisherState {
  grants: Grants;
}

/** Checks what can be refused without the body: its type, and the token. Stands above the body's reader. */
export function admitPublisher(authorizer: Authorizer): Middleware<PublisherState> {
  return async function admitPublisher(ctx, next) {
    ctx.state.grants = await authorizer.publisher(ctx);
    if (ctx.request.length !== 0 && ctx.is(PUBLISH_TYPES) === false) {
      ctx.throw(415, `Publish as ${PUBLISH_TYPES.join(', ')}.`);
    }
    await next();
  };
}

/**
 * `POST` to the hub: one update as a form or as JSON, answered with its id, or many as NDJSON, all or none,
 * answered with their ids. The body has been read as text.
 */
export function publish(hub: Hub): Middleware<PublisherState> {
  const memory = new IdempotencyMemory();

  return async function publish(ctx) {
    const { grants } = ctx.state;
    const body = String(ctx.request.body ?? '');
    const type = ctx.is(PUBLISH_TYPES) || FORM;
    const updates = parseUpdates(ctx, type, body);
    for (const { topics } of updates) {
      if (topics.some((topic) => topic.includes(HUB_PATH))) {
        refuseScope(ctx, `Topics that contain ${HUB_PATH} are the hub's own.`);
      }
      requireTopics(ctx, grants.publish, topics);
    }
    const append = async () => (await hub.publish(updates)).map(({ id }) => id);
    const key = idempotencyKey(ctx, grants);
    const ids = await (key === undefined ? append() : memory.once(ctx, key, type + body, append));
    if (type === NDJSON) {
      ctx.body = ids;
    } else {
      ctx.type = 'text/plain';
      ctx.body = ids[0];
    }
  };
}

const singleLine = (name: string, maxBytes: number) =>
  z
    .string()
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
    .refine((text) => !/[\x00-\x1f\x7f]/.test(text), `${name} contains a control character`)
    .refine(
      (text) => Buffer.byteLength(text) <= maxBytes,
      `${name} is longer than the ${maxBytes} bytes allowed`,
    );

const topic = z
  .string()
  .min(1, 'topic is empty')
  .transform((text) => text.toWellFormed())
  .refine(
    (text) => Buffer.byteLength(text) <= MAX_TOPIC_BYTES,
    `topic is longer than the ${MAX_TOPIC_BYTES} bytes allowed`,
  );

const id = singleLine('id', MAX_ID_BYTES)
  .refine((text) => !text.startsWith('#'), 'id must not start with #')
  .refine((text) => text !== 'earliest', 'id must not be earliest, which means all that is held')
  .refine((text) => !isPosition(text), 'id has the form of those that the hub gives');

/** An update as a publisher writes it. An empty id or type counts as none, as forms have it. */
const updateSchema = z.strictObject({
  topic: z
    .union([topic, z.array(topic)], {
      error: ({ input }) =>
        input === undefined ? 'topic is missing' : 'topic must be a text or a list of texts',
    })
    .transform((topics) => [...new Set([topics].flat())])
    .refine((topics) => topics.length > 0, 'topic is missing')
    .refine(
      ({ length }) => length <= MAX_TOPICS_PER_UPDATE,
      `topic is given more than the ${MAX_TOPICS_PER_UPDATE} times allowed`,
    ),
  data: z
    .unknown()
    .default('')
    .transform((data) => (typeof data === 'string' ? data : JSON.stringify(data)).toWellFormed()),
  type: singleLine('type', MAX_TYPE_BYTES).optional().transform(emptyToNone),
  id: id.optional().transform(emptyToNone),
  retry: z
    .int('retry must be a whole number of milliseconds')
    .min(0, 'retry must not be negative')
    .optional(),
  private: z.boolean('private must be true or false').default(false),
});

function emptyToNone(text: string | undefined): string | undefined {
  return text === '' ? undefined : text?.toWellFormed();
}

function parseUpdates(ctx: Context, type: string, body: string): Update[] {
  if (type === FORM) return [check(ctx, fromForm(ctx, new URLSearchParams(body)))];
  if (type === JSON_TYPE) return [check(ctx, fromJson(ctx, body))];
  const lines = body.split('\n').map((line, index) => ({ line, where: `line ${index + 1}: ` }));
  const updates = lines
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, where }) => check(ctx, fromJson(ctx, line, where), where));
  if (updates.length === 0) ctx.throw(400, 'The body has no update: send one JSON object a line.');
  return updates;
}

function check(ctx: Context, input: unknown, where = ''): Update {
  const { success, data, error } = updateSchema.safeParse(input);
  if (!success) ctx.throw(400, where + explain(error));
  const { topic, ...update } = data;
  return { ...update, topics: topic };
}

/** The first thing that is wrong, with the name of its field. */
function explain(error: z.ZodError): string {
  const [issue] = error.issues;
  const field = issue?.path[0]?.toString();
  if (issue?.code === 'unrecognized_keys')
    return `${issue.keys.join(', ')}: there is no such field.`;
  if (field === undefined) return 'The update must be a JSON object.';
  if (issue?.code === 'invalid_union') return innerOf(issue);
  const message = issue?.message ?? '';
  return message.startsWith(field) ? `${message}.` : `${field}: ${message}.`;
}

/** Of a topic that is neither a text nor a list of them: what is wrong with the one that it is. */
function innerOf(issue: z.core.$ZodIssueInvalidUnion): string {
  const messages = issue.errors.flat().map(({ message }) => message);
  return `${messages.find((message) => message.startsWith('topic is')) ?? issue.message}.`;
}

function fromJson(ctx: Context, text: string, where = ''): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    ctx.throw(400, `${where}The body is not valid JSON: ${(error as Error).message}`);
  }
}

function fromForm(ctx: Context, form: URLSearchParams): Record<string, unknown> {
  const retry = form.get('retry') || undefined;
  if (retry !== undefined && !/^\d{1,15}$/.test(retry)) {
    ctx.throw(400, 'retry must be a whole number of milliseconds.');
  }
  return {
    topic: form.getAll('topic'),
    data: form.get('data') ?? '',
    type: form.get('type') ?? undefined,
    id: form.get('id') ?? undefined,
    retry: retry && Number(retry),
    private: form.has('private'),
  };
}

/** The key that the publisher chose; publishers that their tokens tell apart do not share theirs. */
function idempotencyKey(ctx: Context, { subject }: Grants): string | undefined {
  const key = ctx.get('Idempotency-Key');
  if (key === '') return undefined;
  if (key.length > MAX_ID_BYTES) {
    ctx.throw(400, `Idempotency-Key is longer than the ${MAX_ID_BYTES} bytes allowed.`);
  }
  return JSON.stringify([subject, key]);
}
