/** The part of the script that appends which remembers things beside the entries, as src/journal/remembered.ts says. */

import { FORGET_STEP, PUBLISHER_BYTES, REMEMBERED_SHARE } from '../../remembered.js';

/**
 * Of each kind of things there are: a hash of `values`, by their names; a sorted set with the `order` of the names; a sorted
 * set with the `bytes` of each publisher; a `list` of the names of each publisher, oldest first; and the `sum` of all bytes,
 * in the state. A kind may have one more key, its `index`.
 *
 * A value is JSON, a list. Its third item is when it was remembered, its fourth the publisher, its fifth what it counts. The
 * order is that of the third, or `timeOf` tells it of a name.
 */
export const REMEMBERED = `
-- The name of what is to be forgotten next, and its publisher if that was looked for; an empty name if all is.
local function nextOutdated(kind)
  if state[kind.sum] == 0 then return nil end
  local oldest = call('ZRANGE', kind.order, 0, 0, 'WITHSCORES')
  -- Redis may have removed the order, or the values: nobody would ever forget what is left.
  if #oldest == 0 then return '' end
  local time = kind.timeOf and kind.timeOf(oldest[1]) or tonumber(oldest[2])
  if state.time - time >= kind.maxAge then return oldest[1] end
  if state[kind.sum] <= kind.maxBytes then return nil end
  local heaviest = call('ZREVRANGE', kind.bytes, 0, 0, 'WITHSCORES')
  if #heaviest == 0 or tonumber(heaviest[2]) <= ${REMEMBERED_SHARE} * kind.maxBytes then return oldest[1] end
  local name = call('LINDEX', kind.list .. heaviest[1], 0)
  if name then return name, heaviest[1] end
  -- Redis may have removed the list: then there is nothing to count.
  call('ZREM', kind.bytes, heaviest[1])
  return oldest[1]
end

local function memoryOf(kind)
  local FORGET_STEP = ${FORGET_STEP}
  local PUBLISHER_BYTES = ${PUBLISHER_BYTES}
  local memory, records = {}, {}

  -- Counts bytes to a publisher and to all, or takes them off. Returns how many these are, with what the publisher counts.
  local function countBytes(publisher, bytes)
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

  -- Redis may have removed the value: then its publisher is known only if it is said.
  function memory.forget(name, publisher)
    local value = call('HGET', kind.values, name)
    local fields = value and cjson.decode(value)
    if fields then
      if memory.onForget then memory.onForget(name, fields) end
      call('HDEL', kind.values, name)
      publisher = fields[4]
    end
    call('ZREM', kind.order, name)
    if publisher then
      local list = kind.list .. publisher
      -- Most often it is the publisher's oldest.
      if call('LINDEX', list, 0) == name then call('LPOP', list) else call('LREM', list, 1, name) end
    end
    if fields then countBytes(publisher, -fields[5]) end
  end

  -- Forgets what is too old or too much, in small steps. For what is about to be added, the next call makes room.
  function memory.forgetOutdated(added)
    for _ = 1, FORGET_STEP + added do
      local name, publisher = nextOutdated(kind)
      if not name then return end
      if name == '' then
        call('DEL', kind.values, kind.bytes, kind.index or kind.values)
        state[kind.sum] = 0
        return
      end
      memory.forget(name, publisher)
    end
  end

  -- Remembers a value under a name. Its place in the order is not before any other.
  function memory.remember(name, order, value)
    local encoded, publisher = cjson.encode(value), value[4]
    local record = {name = name, publisher = publisher, bytes = 0}
    records[#records + 1] = record
    call('HSET', kind.values, name, encoded)
    call('ZADD', kind.order, text(order), name)
    call('RPUSH', kind.list .. publisher, name)
    record.bytes = countBytes(publisher, value[5])
  end

  -- Forgets what this call has remembered, whose updates were taken back.
  function memory.takeBack()
    for _, record in ipairs(records) do
      redis.pcall('HDEL', kind.values, record.name)
      redis.pcall('ZREM', kind.order, record.name)
      redis.pcall('LREM', kind.list .. record.publisher, -1, record.name)
      if record.bytes > 0 then redis.pcall('ZINCRBY', kind.bytes, text(-record.bytes), record.publisher) end
    end
  end

  return memory
end
`;
