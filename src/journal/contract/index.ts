/**
 * What the contract of a journal asks of a keeper, as cases that any test runner can run:
 *
 *     for (const { name, run } of journalContract(keeper)) test(name, run);
 *
 * @module koa-sse-hub/journal/contract
 */

import { ages } from './ages.js';
import { appending } from './appending.js';
import { type ContractCase, casesFor, type Keeper } from './case.js';
import { closing } from './closing.js';
import { agesOfEndings, endedTopics, endings, endingsOfTwoWriters } from './endings.js';
import { following } from './following.js';
import { agesOfKeys, keys, rememberedKeys } from './keys.js';
import { listing, looking } from './looking.js';
import { measuring } from './measuring.js';
import { endingModels, models } from './model.js';
import { ownIds, scopes } from './own-ids.js';
import { locating, reading } from './reading.js';
import { shares, trimmedTopics } from './shares.js';
import { transient } from './transient.js';
import { bytes, trimming } from './trimming.js';
import { twoWriters } from './two-writers.js';

export type { ContractCase, Keeper } from './case.js';

/**
 * The cases for a keeper, in no order that matters; each opens journals of its own. Cases of two writers are there if
 * the keeper has `openSecond`, those that set its clock if it has `setClock`.
 */
export function journalContract(keeper: Keeper): readonly ContractCase[] {
  return [
    appending,
    following,
    ownIds,
    keys,
    rememberedKeys,
    agesOfKeys,
    measuring,
    endedTopics,
    endings,
    agesOfEndings,
    scopes,
    reading,
    locating,
    looking,
    listing,
    trimming,
    bytes,
    shares,
    trimmedTopics,
    transient,
    ages,
    closing,
    models,
    endingModels,
    twoWriters,
    endingsOfTwoWriters,
  ].flatMap((each) => casesFor(each, keeper));
}
