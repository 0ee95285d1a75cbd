/** The part of the script that appends which remembers idempotency keys. */

import { KEY_BYTES, SERIES_BYTES } from '../../append-keys.js';
import { KEY_MAX_AGE_MS, MAX_KEYS_BYTES } from '../../journal.js';

/**
 * Finds keys and remembers them; see remembered.ts. The first item of a value is the digest, the second its places. The
 * order of keys is that of the time at which they were first used.
 */
export const APPEND_KEYS = `
local keyKind = kindOf({
  values = KEYS_, order = KEY_ORDER, bytes = KEY_BYTES, list = BASE .. 'keys-of:', sum = 'keysBytes',
  maxBytes = ${MAX_KEYS_BYTES}, maxAge = ${KEY_MAX_AGE_MS},
})
local newKeys, keysInOrder = {}, {}

-- The digest and the places of a key that is remembered and not too old.
local function keyOf(name)
  if newKeys[name] then return newKeys[name] end
  local value = call('HGET', KEYS_, name)
  local known = value and cjson.decode(value)
  return known and not isTooOld(keyKind, known[3]) and known
end

-- Notes a key that is to be remembered: its name, digest and publisher, and where its updates stand, in so many series.
local function addKey(key, places, series)
  local name, digest, publisher = unpack(key)
  local bytes = ${KEY_BYTES} + #name + #digest + #publisher + ${SERIES_BYTES} * series
  local fields = {digest, places, state.time, publisher, bytes}
  newKeys[name] = fields
  keysInOrder[#keysInOrder + 1] = {
    name = name, order = state.time, value = cjson.encode(fields), publisher = publisher, bytes = bytes,
  }
end

local function rememberKeys()
  for _, record in ipairs(keysInOrder) do
    -- It is too old, and used anew.
    if call('HEXISTS', KEYS_, record.name) == 1 then forget(keyKind, record.name) end
  end
  forgetOutdated(keyKind, #keysInOrder)
  remember(keyKind, keysInOrder)
end
`;
