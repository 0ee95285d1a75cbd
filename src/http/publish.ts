import type { Context, Middleware } from 'koa';
import { z } from 'zod';
import type { Grants } from '../auth/grants.js';
import type { Hub } from '../hub/hub.js';
import { HUB_PATH } from '../hub/path.js';
import { MAX_ID_BYTES, MAX_TOPICS_PER_UPDATE, UpdateError, ValidUpdates } from '../hub/update.js';
import type { Update } from '../journal/journal.js';
import { TimeSlice } from '../time-slice.js';
import { type Authorizer, refuseScope, requireTopics } from './auth.js';
import { IdempotencyMemory } from './idempotency.js';
import { publisherOf } from './publisher.js';

/** A body of more would keep everybody else waiting while it is read. */
const MAX_UPDATES_PER_BODY = 10_000;

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
    const updates = readUpdates(ctx, type, body);
    const slice = new TimeSlice();
    for (const { topics } of updates.list) {
      if (topics.some((topic) => topic.includes(HUB_PATH))) {
        refuseScope(ctx, `Topics that contain ${HUB_PATH} are the hub's own.`);
      }
      await requireTopics(ctx, grants.publish, topics, slice);
    }
    const own = updates.publishedBy(publisherOf(grants));
    const append = async () => (await hub.publish(own)).map(({ id }) => id);
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

const topic = z.string().transform((text) => text.toWellFormed());

/**
 * An update as a publisher writes it. What it may hold is for the hub to say; here it is what it is made of. An
 * empty id or type counts as none, as forms have it.
 */
const updateSchema = z.strictObject({
  topic: z
    .union([topic, z.array(topic).max(MAX_TOPICS_PER_UPDATE)], {
      error: ({ input }) => {
        if (input === undefined) return 'topic is missing';
        return Array.isArray(input) && input.length > MAX_TOPICS_PER_UPDATE
          ? `topic is given more than the ${MAX_TOPICS_PER_UPDATE} times allowed`
          : 'topic must be a text or a list of texts';
      },
    })
    .transform((topics) => (typeof topics === 'string' ? [topics] : [...new Set(topics)])),
  data: z
    .unknown()
    .default('')
    .transform((data, context) => {
      try {
        return (typeof data === 'string' ? data : JSON.stringify(data)).toWellFormed();
      } catch {
        context.addIssue('data is nested too deeply');
        return z.NEVER;
      }
    }),
  type: z.string().optional().transform(emptyToNone),
  id: z.string().optional().transform(emptyToNone),
  retry: z
    .int('retry must be a whole number of milliseconds')
    .min(0, 'retry must not be negative')
    .optional(),
  private: z.boolean('private must be true or false').default(false),
});

function emptyToNone(text: string | undefined): string | undefined {
  return text === '' ? undefined : text?.toWellFormed();
}

function readUpdates(ctx: Context, type: string, body: string): ValidUpdates {
  if (type === FORM)
    return validate(ctx, [toUpdate(ctx, fromForm(ctx, new URLSearchParams(body)))]);
  if (type === JSON_TYPE) return validate(ctx, [toUpdate(ctx, fromJson(ctx, body))]);
  const lines = body
    .split('\n')
    .map((line, index) => ({ line, where: `line ${index + 1}: ` }))
    .filter(({ line }) => line.trim() !== '');
  if (lines.length === 0) ctx.throw(400, 'The body has no update: send one JSON object a line.');
  if (lines.length > MAX_UPDATES_PER_BODY) {
    ctx.throw(413, `The body has more than the ${MAX_UPDATES_PER_BODY} updates allowed.`);
  }
  return validate(
    ctx,
    lines.map(({ line, where }) => toUpdate(ctx, fromJson(ctx, line, where), where)),
    lines.map(({ where }) => where),
  );
}

/** @param wheres what an error of each update begins with. */
function validate(
  ctx: Context,
  updates: readonly Update[],
  wheres?: readonly string[],
): ValidUpdates {
  try {
    return new ValidUpdates(updates);
  } catch (error) {
    if (!(error instanceof UpdateError)) throw error;
    ctx.throw(400, `${wheres?.[error.index] ?? ''}${error.message}.`);
  }
}

function toUpdate(ctx: Context, input: unknown, where = ''): Update {
  const { success, data: fields, error } = updateSchema.safeParse(input);
  if (!success) ctx.throw(400, where + explain(error));
  const { topic: topics, data, type, id, retry, private: isPrivate } = fields;
  return { topics, data, type, id, retry, private: isPrivate };
}

const MAX_NAMED_KEYS = 5;

/** The first thing that is wrong, with the name of its field. */
function explain(error: z.ZodError): string {
  const [issue] = error.issues;
  const field = issue?.path[0]?.toString();
  if (issue?.code === 'unrecognized_keys') {
    const names = issue.keys.slice(0, MAX_NAMED_KEYS).map((key) => key.slice(0, MAX_ID_BYTES));
    return `${names.join(', ')}: there is no such field.`;
  }
  if (field === undefined) return 'The update must be a JSON object.';
  const message = issue?.message ?? '';
  return message.startsWith(field) ? `${message}.` : `${field}: ${message}.`;
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
function idempotencyKey(ctx: Context, grants: Grants): string | undefined {
  const key = ctx.get('Idempotency-Key');
  if (key === '') return undefined;
  if (key.length > MAX_ID_BYTES) {
    ctx.throw(400, `Idempotency-Key is longer than the ${MAX_ID_BYTES} bytes allowed.`);
  }
  return JSON.stringify([publisherOf(grants).scope, grants.subject, key]);
}
