/** The part of the script that appends which remembers things beside the entries, as src/journal/remembered.ts says. */

import { FORGET_STEP, PUBLISHER_BYTES, REMEMBERED_SHARE } from '../../remembered.js';

/**
 * Of each kind of things there are: a hash of `values`, by their names; a sorted set with the `order` of the names; a sorted
 * set with the `bytes` of each publisher; a list of the names `of` each publisher, oldest first; and the `sum` of all bytes,
 * in the state. The list `isSorted`, as the order is, where things are forgotten that are not the oldest: a list of Redis
 * is searched from its end. A kind may have one more key, its `index`.
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
  local list = kind.of .. heaviest[1]
  local name = kind.isSorted and call('ZRANGE', list, 0, 0)[1] or not kind.isSorted and call('LINDEX', list, 0)
  if name then return name, heaviest[1] end
  -- Redis may have removed the list: then there is nothing to count.
  call('ZREM', kind.bytes, heaviest[1])
  return oldest[1]
end

local function memoryOf(kind)
  local FORGET_STEP = ${FORGET_STEP}
  local PUBLISHER_BYTES = ${PUBLISHER_BYTES}
  local memory, remembered, counted = {}, {}, {}

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

  local function takeFrom(list, names)
    if kind.isSorted then return callMany('ZREM', list, names) end
    for _, name in ipairs(names) do
      -- Most often it is the publisher's oldest.
      if call('LINDEX', list, 0) == name then call('LPOP', list) else call('LREM', list, 1, name) end
    end
  end

  -- What to write of items, each a name, its place in the order, and its value: names, and for each publisher the names,
  -- with their places where they are sorted, and the bytes.
  local function sumUp(items, withPlaces)
    local names, lists, bytes = {}, {}, {}
    for _, item in ipairs(items) do
      local publisher = item[3][4]
      local list = lists[publisher] or {}
      if withPlaces and kind.isSorted then list[#list + 1] = text(item[2]) end
      list[#list + 1] = item[1]
      names[#names + 1] = item[1]
      lists[publisher] = list
      bytes[publisher] = (bytes[publisher] or 0) + item[3][5]
    end
    return names, lists, bytes
  end

  -- Remembers items. Their places are not before any other.
  function memory.remember(items)
    remembered = items
    local values, order = {}, {}
    for n, item in ipairs(items) do
      values[2 * n - 1], values[2 * n] = item[1], cjson.encode(item[3])
      order[2 * n - 1], order[2 * n] = text(item[2]), item[1]
    end
    callMany('HSET', kind.values, values)
    callMany('ZADD', kind.order, order)
    local _, lists, bytes = sumUp(items, true)
    for publisher, list in pairs(lists) do
      callMany(kind.isSorted and 'ZADD' or 'RPUSH', kind.of .. publisher, list)
      counted[publisher] = countBytes(publisher, bytes[publisher])
    end
  end

  -- Forgets items, whose places need not be known.
  function memory.drop(items)
    local names, lists, bytes = sumUp(items, false)
    callMany('HDEL', kind.values, names)
    callMany('ZREM', kind.order, names)
    for publisher, list in pairs(lists) do
      takeFrom(kind.of .. publisher, list)
      countBytes(publisher, -bytes[publisher])
    end
  end

  -- Redis may have removed the value: then its publisher is known only if it is said.
  function memory.forget(name, publisher)
    local value = call('HGET', kind.values, name)
    if value then
      local fields = cjson.decode(value)
      if memory.onForget then memory.onForget(name, fields) end
      return memory.drop({{name, false, fields}})
    end
    call('ZREM', kind.order, name)
    if publisher then takeFrom(kind.of .. publisher, {name}) end
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

  -- Forgets what this call has remembered, whose updates were taken back.
  function memory.takeBack()
    for _, item in ipairs(remembered) do
      local name, list = item[1], kind.of .. item[3][4]
      redis.pcall('HDEL', kind.values, name)
      redis.pcall('ZREM', kind.order, name)
      if kind.isSorted then redis.pcall('ZREM', list, name) else redis.pcall('LREM', list, -1, name) end
    end
    for publisher, bytes in pairs(counted) do redis.pcall('ZINCRBY', kind.bytes, text(-bytes), publisher) end
  end

  return memory
end
`;
