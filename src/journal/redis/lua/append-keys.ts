/** The parts of the script that appends which remember idempotency keys. */

import { KEY_MAX_AGE_MS, MAX_KEYS_BYTES } from '../../journal.js';
import { REMEMBERED_SHARE } from '../../remembered.js';

/** Finds a key that is remembered and not too old: its digest and its places. */
export const KEY_ROOM = `
local KEY_MAX_AGE_MS = ${KEY_MAX_AGE_MS}
local function keyOf(name)
  local value = call('HGET', KEYS_, name)
  if not value then return nil end
  local known = cjson.decode(value)
  if state.time - known[3] >= KEY_MAX_AGE_MS then return nil end
  return known
end
`;

/**
 * Remembers the keys of this call, and forgets those that are too old or too many, in small steps. A key is stored as JSON:
 * its digest, its places, when it was first used, its publisher, what it counts.
 */
export const KEYS_SCRIPT = `
local MAX_KEYS_BYTES = ${MAX_KEYS_BYTES}
local MAX_KEYS_BYTES_OF_ONE = ${REMEMBERED_SHARE * MAX_KEYS_BYTES}
local FORGET_STEP = 256

local function forgetKey(name)
  local value = call('HGET', KEYS_, name)
  call('HDEL', KEYS_, name)
  call('ZREM', KEY_ORDER, name)
  if not value then return end
  local known = cjson.decode(value)
  local list = BASE .. 'keys-of:' .. known[4]
  -- It is the oldest of its publisher, but where it is used anew.
  if call('LINDEX', list, 0) == name then call('LPOP', list) else call('LREM', list, 1, name) end
  state.keysBytes = state.keysBytes - known[5]
  if tonumber(call('ZINCRBY', KEY_BYTES, -known[5], known[4])) <= 0 then call('ZREM', KEY_BYTES, known[4]) end
end

for _, key in ipairs(keysInOrder) do
  local name, publisher = key[4], key[3]
  if call('HEXISTS', KEYS_, name) == 1 then forgetKey(name) end
  local bytes = 350 + #name + #key[1] + #publisher + 30 * key[5]
  call('HSET', KEYS_, name, cjson.encode({key[1], key[2], state.time, publisher, bytes}))
  call('ZADD', KEY_ORDER, text(state.time), name)
  call('RPUSH', BASE .. 'keys-of:' .. publisher, name)
  call('ZINCRBY', KEY_BYTES, bytes, publisher)
  key.bytes = bytes
  state.keysBytes = state.keysBytes + bytes
end

for _ = 1, FORGET_STEP + #keysInOrder do
  if state.keysBytes == 0 then break end
  local oldest = call('ZRANGE', KEY_ORDER, 0, 0, 'WITHSCORES')
  if #oldest == 0 then break end
  if state.time - tonumber(oldest[2]) >= KEY_MAX_AGE_MS then
    forgetKey(oldest[1])
  elseif state.keysBytes > MAX_KEYS_BYTES then
    local heaviest = call('ZREVRANGE', KEY_BYTES, 0, 0, 'WITHSCORES')
    local isTooMuch = #heaviest > 0 and tonumber(heaviest[2]) > MAX_KEYS_BYTES_OF_ONE
    local name = isTooMuch and call('LINDEX', BASE .. 'keys-of:' .. heaviest[1], 0)
    -- Redis may have removed the list: then there is nothing to count.
    if isTooMuch and not name then call('ZREM', KEY_BYTES, heaviest[1]) end
    forgetKey(name or oldest[1])
  else
    break
  end
end
`;

/** Forgets the keys of this call, whose updates were taken back. */
export const TAKE_KEYS_BACK = `
  for _, key in ipairs(keysInOrder) do
    local name, publisher = key[4], key[3]
    redis.pcall('HDEL', KEYS_, name)
    redis.pcall('ZREM', KEY_ORDER, name)
    redis.pcall('LREM', BASE .. 'keys-of:' .. publisher, -1, name)
    if key.bytes then redis.pcall('ZINCRBY', KEY_BYTES, -key.bytes, publisher) end
  end
`;
