/** The scripts, with the digests by which Redis knows them once it has them. */

import { createHash } from 'node:crypto';
import { APPEND } from './lua/append.js';
import { ATTACH } from './lua/attach.js';
import {
  BOUNDS,
  FETCH,
  LIST_ENDINGS,
  LOCATE,
  MEASURE,
  NEWEST,
  PLACES,
  READ,
  TOPICS,
  TRIMMED_TOPICS,
} from './lua/read.js';
import { BEAT, CLAIM, JOIN, LEAVE, NODES, NOTE, PAGE, TAKE_LEFT } from './lua/roster.js';

export interface Script {
  readonly text: string;
  /** What EVALSHA calls it. */
  readonly digest: string;
}

export const SCRIPTS = {
  append: script(APPEND),
  attach: script(ATTACH),
  bounds: script(BOUNDS),
  endings: script(LIST_ENDINGS),
  fetch: script(FETCH),
  locate: script(LOCATE),
  measure: script(MEASURE),
  newest: script(NEWEST),
  places: script(PLACES),
  read: script(READ),
  topics: script(TOPICS),
  trimmedTopics: script(TRIMMED_TOPICS),
} as const;

/** Those of the roster, on a connection of its own. */
export const ROSTER_SCRIPTS = {
  beat: script(BEAT),
  claim: script(CLAIM),
  join: script(JOIN),
  leave: script(LEAVE),
  nodes: script(NODES),
  note: script(NOTE),
  page: script(PAGE),
  takeLeft: script(TAKE_LEFT),
} as const;

function script(text: string): Script {
  return { text, digest: createHash('sha1').update(text).digest('hex') };
}
