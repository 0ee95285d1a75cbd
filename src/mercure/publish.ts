import { createHash } from 'node:crypto';
import type { Context, Middleware } from 'koa';
import { z } from 'zod';
import type { Grants } from '../auth/grants.js';
import type { Hub } from '../hub/hub.js';
import {
  MAX_ID_BYTES,
  MAX_TOPICS_PER_UPDATE,
  type Publication,
  UpdateError,
  ValidUpdates,
} from '../hub/update.js';
import type { AppendKey } from '../journal/journal.js';
import type { BodyState } from '../requests/body.js';
import { MAX_FORM_FIELDS, parseForm } from '../requests/form.js';
import { findInexactNumber, JsonError, parseJson } from '../requests/json.js';
import { SharedTime, type TimeSlice } from '../time-slice.js';
import { type Authorizer, refuseScope, requireTopic } from './auth.js';
import { HUB_PATH } from './paths.js';
import { type Publisher, publisherOf } from './publisher.js';

const MAX_UPDATES_PER_BODY = 10_000;
/** Of all updates together: each new topic takes memory, and time in the commit, which is one. */
const MAX_TOPICS_PER_BODY = 20_000;
/** Lines with nothing on them, beside those of updates. */
const MAX_BLANK_LINES = 10_000;

const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';
const NDJSON = 'application/x-ndjson';

const PUBLISH_TYPES = [FORM, JSON_TYPE, NDJSON];

/** The state of a request that publishes. */
export interface PublisherState extends BodyState {
  /** What is known of a publisher before its body is read. */
  grants: Grants;
}

/** Checks what can be refused without the body: its type, and the token. Stands above the body's reader. */
export function admitPublisher(authorizer: Authorizer): Middleware<PublisherState> {
  return async function admitPublisher(ctx, next) {
    ctx.state.grants = await authorizer.publisher(ctx);
    // Before its body is read, which costs more than this.
    if (ctx.state.grants.publish.length === 0) {
      refuseScope(ctx, 'The token grants no publishing: its publish claim is empty.');
    }
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
  return async function publish(ctx) {
    const { grants, body } = ctx.state;
    const type = ctx.is(PUBLISH_TYPES) || FORM;
    const updates = await readUpdates(ctx, type, body, grants);
    const refs = await hub.publish(updates, { key: appendKey(ctx, grants, type + body) });
    if (type === NDJSON) {
      ctx.body = refs.map(({ id }) => id);
    } else {
      ctx.type = 'text/plain';
      ctx.body = refs[0]?.id;
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
    .transform((data) => (typeof data === 'string' ? data : JSON.stringify(data)).toWellFormed()),
  type: z.string().optional().transform(emptyToNone),
  id: z.string().optional().transform(emptyToNone),
  retry: z
    .int('retry must be a whole number of milliseconds')
    .min(0, 'retry must not be negative')
    .optional(),
  private: z.boolean('private must be true or false').default(false),
  last: z.boolean('last must be true or false').optional(),
  reopen: z.boolean('reopen must be true or false').optional(),
});

function emptyToNone(text: string | undefined): string | undefined {
  return text === '' ? undefined : text?.toWellFormed();
}

/** Of all bodies. */
const parsing = new SharedTime();

/** All updates of a body, each checked; in slices of time, so that a large body delays nobody else. */
async function readUpdates(
  ctx: Context,
  type: string,
  body: string,
  grants: Grants,
): Promise<ValidUpdates> {
  const updates = new ValidUpdates();
  const publisher = publisherOf(grants);
  const slice = parsing.begin();
  if (type === NDJSON) {
    let topics = 0;
    for (const { text, number } of linesOf(ctx, body)) {
      // One update is no reason to wait for others.
      if (updates.list.length > 0 && slice.isOver) await slice.next();
      const input = fromJson(ctx, text, number);
      const update = toUpdate(ctx, input, publisher, number);
      add(ctx, updates, update, number);
      topics += update.topics.length;
      if (topics > MAX_TOPICS_PER_BODY) {
        ctx.throw(
          413,
          `The updates of the body have more than the ${MAX_TOPICS_PER_BODY} topics allowed together.`,
        );
      }
      if (!isText(input)) await requireExactNumbers(ctx, text, slice, number);
    }
  } else if (type === JSON_TYPE) {
    const input = fromJson(ctx, body);
    add(ctx, updates, toUpdate(ctx, input, publisher));
    if (!isText(input)) await requireExactNumbers(ctx, body, slice);
  } else {
    add(ctx, updates, toUpdate(ctx, fromForm(ctx, body), publisher));
  }
  const allowed = new Set<string>(); // The updates of one body often have the same topics.
  for (const { topics } of updates.list) {
    if (allowed.size > 0 && slice.isOver) await slice.next();
    for (const topic of topics) {
      if (allowed.has(topic)) continue;
      if (allowed.size > 0 && slice.isOver) await slice.next();
      if (topic.includes(HUB_PATH)) {
        refuseScope(ctx, `Topics that contain ${HUB_PATH} are the hub's own.`);
      }
      requireTopic(ctx, grants.publish, topic);
      allowed.add(topic);
    }
  }
  return updates;
}

interface Line {
  readonly text: string;
  /** From 1, blank ones counted. */
  readonly number: number;
}

/** The lines of an NDJSON body that are not blank. */
function linesOf(ctx: Context, body: string): Line[] {
  const lines: Line[] = [];
  let number = 0;
  for (let start = 0; start < body.length; ) {
    const found = body.indexOf('\n', start);
    const end = found === -1 ? body.length : found;
    const text = body.slice(start, end);
    start = end + 1;
    number += 1;
    if (text.trim() !== '') lines.push({ text, number });
    if (lines.length > MAX_UPDATES_PER_BODY) {
      ctx.throw(413, `The body has more than the ${MAX_UPDATES_PER_BODY} updates allowed.`);
    }
    if (number - lines.length > MAX_BLANK_LINES) {
      ctx.throw(413, `The body has more than the ${MAX_BLANK_LINES} blank lines allowed.`);
    }
  }
  if (lines.length === 0) ctx.throw(400, 'The body has no update: send one JSON object a line.');
  return lines;
}

/** What an error begins with: of the line of an NDJSON body, its number. */
function where(line: number | undefined): string {
  return line === undefined ? '' : `line ${line}: `;
}

function add(ctx: Context, updates: ValidUpdates, publication: Publication, line?: number): void {
  try {
    updates.add(publication);
  } catch (error) {
    if (!(error instanceof UpdateError)) throw error;
    ctx.throw(400, `${where(line)}${error.message}.`);
  }
}

function toUpdate(
  ctx: Context,
  input: unknown,
  { publisher, scope }: Publisher,
  line?: number,
): Publication {
  if (isPlain(input)) {
    const topic = input.topic.toWellFormed();
    return { topics: [topic], data: input.data.toWellFormed(), publisher, scope };
  }
  const { success, data: fields, error } = updateSchema.safeParse(input);
  if (!success) ctx.throw(400, where(line) + explain(error));
  const { topic: topics, data, type, id, retry, private: isPrivate, last, reopen } = fields;
  return { topics, data, type, id, retry, private: isPrivate, last, reopen, publisher, scope };
}

/** Whether an update is a topic and a text, as most are: what the schema makes of them needs no schema, which takes a microsecond. */
function isPlain(input: unknown): input is { readonly topic: string; readonly data: string } {
  if (typeof input !== 'object' || input === null) return false;
  const { topic, data } = input as { topic?: unknown; data?: unknown };
  return typeof topic === 'string' && typeof data === 'string' && Object.keys(input).length === 2;
}

/** Data that is sent as JSON has its numbers as they were written, or is refused. */
async function requireExactNumbers(
  ctx: Context,
  json: string,
  slice: TimeSlice,
  line?: number,
): Promise<void> {
  const inexact = await findInexactNumber(json, slice);
  if (inexact === undefined) return;
  const { length } = inexact;
  const shown = length > MAX_SHOWN_DIGITS ? `${inexact.slice(0, MAX_SHOWN_DIGITS)}…` : inexact;
  ctx.throw(
    400,
    `${where(line)}data: the number ${shown} would arrive as another one: send data as a text.`,
  );
}

/** Whether the data of an update is sent as it is, and not as JSON. */
function isText(input: unknown): boolean {
  const { data = '' } = input as { data?: unknown };
  return typeof data === 'string';
}

const MAX_SHOWN_DIGITS = 40;

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

function fromJson(ctx: Context, text: string, line?: number): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    if (error instanceof JsonError) ctx.throw(400, `${where(line)}${error.message}`);
    throw error;
  }
}

function fromForm(ctx: Context, body: string): Record<string, unknown> {
  const form = parseForm(body);
  if (form === undefined) ctx.throw(413, `The form has more than ${MAX_FORM_FIELDS} fields.`);
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
    last: form.has('last') || undefined,
    reopen: form.has('reopen') || undefined,
  };
}

/**
 * What the updates of a body are appended under, if the publisher chose an `Idempotency-Key`. Publishers that their
 * tokens tell apart do not share theirs, and neither find out nor block each other's.
 */
function appendKey(ctx: Context, grants: Grants, body: string): AppendKey | undefined {
  const key = ctx.get('Idempotency-Key');
  if (key === '') return undefined;
  if (key.length > MAX_ID_BYTES) {
    ctx.throw(400, `Idempotency-Key is longer than the ${MAX_ID_BYTES} bytes allowed.`);
  }
  const { publisher, scope } = publisherOf(grants);
  return {
    key: digest(JSON.stringify([scope, grants.subject, key])),
    digest: digest(body),
    publisher,
  };
}

/** Short, however long the text is. */
function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
