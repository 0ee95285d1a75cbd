/** The part of the script that appends which remembers idempotency keys. */

import { KEY_BYTES, SERIES_BYTES } from '../../append-keys.js';
import { KEY_MAX_AGE_MS, MAX_KEYS_BYTES } from '../../journal.js';

/**
 * Finds keys and remembers them; see remembered.ts. The first item of a value is the digest, the second its places. Their
 * order is that of when they were first used.
 */
export const APPEND_KEYS = `
local keyKind = {
  values = KEYS_, order = KEY_ORDER, bytes = KEY_BYTES, of = BASE .. 'keys-of:', sum = 'keysBytes',
  maxBytes = ${MAX_KEYS_BYTES}, maxAge = ${KEY_MAX_AGE_MS},
}
local memory = memoryOf(keyKind)
local new, items = {}, {}

-- What is remembered under a key, if it is not too old.
local function find(name)
  if new[name] then return new[name] end
  local value = call('HGET', KEYS_, name)
  local known = value and cjson.decode(value)
  return known and state.time - known[3] < keyKind.maxAge and known
end

-- Notes a key that is to be remembered: its name, digest and publisher, and where its updates stand, in so many series.
local function add(key, places, series)
  local name, digest, publisher = unpack(key)
  local bytes = ${KEY_BYTES} + #name + #digest + #publisher + ${SERIES_BYTES} * series
  new[name] = {digest, places, state.time, publisher, bytes}
  items[#items + 1] = {name, state.time, new[name]}
end

local function write()
  for _, item in ipairs(items) do
    -- It is too old, and used anew.
    if call('HEXISTS', KEYS_, item[1]) == 1 then memory.forget(item[1]) end
  end
  memory.forgetOutdated(#items)
  memory.remember(items)
end

keys = {find = find, add = add, write = write, takeBack = memory.takeBack}
`;
