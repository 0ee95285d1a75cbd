/** The part of the script that appends which remembers things beside the entries, as src/journal/remembered.ts says. */

import { FORGET_STEP, PUBLISHER_BYTES, REMEMBERED_SHARE } from '../../remembered.js';

/**
 * Of each kind of things there are: a hash of `values`, by their names; a sorted set with the `order` of the names; a sorted
 * set with the `bytes` of each publisher; a `list` of the names of each publisher, oldest first; and the `sum` of all bytes,
 * in the state.
 *
 * A value is JSON, a list. Its third item is when it was remembered, its fourth the publisher, its fifth what it counts.
 *
 * A kind may have one more key, its `index`; say by `timeOf` how old a name is, where its order is not one of times; and be
 * told by `onForget` of each value that is forgotten.
 */
export const REMEMBERED = `
local FORGET_STEP = ${FORGET_STEP}
local PUBLISHER_BYTES = ${PUBLISHER_BYTES}

local function kindOf(kind)
  kind.maxBytesOfOne = ${REMEMBERED_SHARE} * kind.maxBytes
  kind.records, kind.counted = {}, {}
  return kind
end

local function isTooOld(kind, time) return state.time - time >= kind.maxAge end

-- Counts bytes to a publisher and to all, or takes them off. Returns how many these are, with what the publisher counts.
local function countBytes(kind, publisher, bytes)
  local has = tonumber(call('ZINCRBY', kind.bytes, text(bytes), publisher))
  if bytes > 0 and has == bytes then
    call('ZINCRBY', kind.bytes, PUBLISHER_BYTES, publisher)
    bytes = bytes + PUBLISHER_BYTES
  elseif has <= PUBLISHER_BYTES then
    call('ZREM', kind.bytes, publisher)
    bytes = bytes - math.max(has, 0)
  end
  state[kind.sum] = math.max(state[kind.sum] + bytes, 0)
  return bytes
end

-- Redis may have removed the value: then it is known only where its publisher is said.
local function forget(kind, name, publisher)
  local value = call('HGET', kind.values, name)
  local fields = value and cjson.decode(value)
  if fields then
    if kind.onForget then kind.onForget(name, fields) end
    call('HDEL', kind.values, name)
    publisher = fields[4]
  end
  call('ZREM', kind.order, name)
  if publisher then
    local list = kind.list .. publisher
    -- Most often it is the publisher's oldest.
    if call('LINDEX', list, 0) == name then call('LPOP', list) else call('LREM', list, 1, name) end
  end
  if fields then countBytes(kind, publisher, -fields[5]) end
end

-- Forgets what is too old or too much, in small steps. For what is about to be added, the next call makes room.
local function forgetOutdated(kind, added)
  for _ = 1, FORGET_STEP + added do
    if state[kind.sum] == 0 then return end
    local oldest = call('ZRANGE', kind.order, 0, 0, 'WITHSCORES')
    if #oldest == 0 then
      -- Redis may have removed the order, or the values: nobody would ever forget what is left.
      call('DEL', kind.values, kind.bytes, kind.index or kind.values)
      state[kind.sum] = 0
      return
    end
    local time = kind.timeOf and kind.timeOf(oldest[1]) or tonumber(oldest[2])
    if isTooOld(kind, time) then
      forget(kind, oldest[1])
    elseif state[kind.sum] > kind.maxBytes then
      local heaviest = call('ZREVRANGE', kind.bytes, 0, 0, 'WITHSCORES')
      local isTooMuch = #heaviest > 0 and tonumber(heaviest[2]) > kind.maxBytesOfOne
      local name = isTooMuch and call('LINDEX', kind.list .. heaviest[1], 0)
      -- Redis may have removed the list: then there is nothing to count.
      if isTooMuch and not name then call('ZREM', kind.bytes, heaviest[1]) end
      forget(kind, name or oldest[1], name and heaviest[1])
    else
      return
    end
  end
end

-- Remembers records: each a name, its place in the order, its value, its publisher, and the bytes that it counts.
local function remember(kind, records)
  kind.records = records
  local values, order, lists, sums = {}, {}, {}, {}
  for _, record in ipairs(records) do
    local n, publisher = #values, record.publisher
    values[n + 1], values[n + 2] = record.name, record.value
    order[n + 1], order[n + 2] = text(record.order), record.name
    local list = lists[publisher] or {}
    list[#list + 1] = record.name
    lists[publisher] = list
    sums[publisher] = (sums[publisher] or 0) + record.bytes
  end
  callMany('HSET', kind.values, values)
  callMany('ZADD', kind.order, order)
  for publisher, names in pairs(lists) do
    callMany('RPUSH', kind.list .. publisher, names)
    kind.counted[publisher] = countBytes(kind, publisher, sums[publisher])
  end
end

-- Forgets what this call has remembered, whose updates were taken back.
local function takeRememberedBack(kind)
  for _, record in ipairs(kind.records) do
    redis.pcall('HDEL', kind.values, record.name)
    redis.pcall('ZREM', kind.order, record.name)
    redis.pcall('LREM', kind.list .. record.publisher, -1, record.name)
  end
  for publisher, bytes in pairs(kind.counted) do redis.pcall('ZINCRBY', kind.bytes, text(-bytes), publisher) end
end
`;
