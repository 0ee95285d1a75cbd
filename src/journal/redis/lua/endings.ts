/** The parts of scripts that look at the endings of topics, and remember them. */

import { ENDING_MAX_AGE_MS, MAX_ENDINGS_BYTES } from '../../journal.js';

/**
 * Looks at endings. An ending is remembered under the position of its update; see remembered.ts. Its value has the index
 * prefixes of the update's topics, whether it is private, and as its sixth item its own id, if it has one. Which topics
 * have ended, and with which update, is said by a hash of its own.
 */
export const ENDED_TOPICS = String.raw`
local ENDING_MAX_AGE_MS = ${ENDING_MAX_AGE_MS}

local function isEndingTooOld(position) return state.time - parse(position) >= ENDING_MAX_AGE_MS end

-- Whether a topic has ended still with the update at a position that is said to be its last one. It has not where Redis
-- has removed the ending, nor where a node of a version that knows no endings has appended to the topic since.
local function isEndOf(prefix, position)
  if isEndingTooOld(position) or call('HEXISTS', ENDINGS, position) == 0 then return false end
  local min, max = '(' .. prefix .. toPlace(position), '(' .. prefix .. '\255'
  return #call('ZRANGEBYLEX', INDEX, min, max, 'LIMIT', 0, 1) == 0
end

-- Gives a function the topics, by their index prefixes, that are said to have ended, and the positions of their last updates.
local function eachEnded(prefixes, take)
  for from = 1, #prefixes, ARGUMENTS do
    local page = {unpack(prefixes, from, math.min(from + ARGUMENTS - 1, #prefixes))}
    for n, position in ipairs(call('HMGET', ENDED, unpack(page))) do
      if position then take(page[n], position, from + n - 1) end
    end
  end
end
`;

/**
 * Decides for the script that appends whether topics have ended, and remembers what its updates have ended and reopened.
 *
 * The endings are written last of all, and what says that topics have ended after them: what goes wrong before that has
 * ended nothing.
 */
export const REMEMBER_ENDINGS = `
local endingKind = kindOf({
  values = ENDINGS, order = ENDING_ORDER, bytes = ENDING_BYTES, list = BASE .. 'endings-of:', sum = 'endingsBytes',
  maxBytes = ${MAX_ENDINGS_BYTES}, maxAge = ENDING_MAX_AGE_MS, index = ENDED,
  timeOf = function(position) return (parse(position)) end,
  onForget = function(position, fields)
    local over = {}
    eachEnded(fields[1], function(prefix, last)
      if last == position then over[#over + 1] = prefix end
    end)
    callMany('HDEL', ENDED, over)
  end,
})

-- By index prefix: with which update a topic is said to have ended before this call, and which have ended by now.
local saidBefore, ended = {}, {}
-- As long as it is false, no topic has ended, and none is about to.
local isAnyEnded = false
local function lookAtEndings()
  local prefixes = {}
  for _, header in ipairs(headers) do
    if header[6] then isAnyEnded = true end
    if state.endingsBytes > 0 then
      for _, prefix in ipairs(header[5]) do prefixes[#prefixes + 1] = prefix end
    end
  end
  eachEnded(prefixes, function(prefix, position)
    saidBefore[prefix] = position
    if isEndOf(prefix, position) then
      ended[prefix] = true
      isAnyEnded = true
    end
  end)
end

-- Ends and reopens topics by the first updates of an append, but for those that are held already. Returns what has
-- changed; and if one of them is refused, its number and that of its topic.
local function endTopics(numbers, count, repeats, reopening)
  local changed = {}
  if not isAnyEnded then return changed end
  local reopens = {}
  for _, n in ipairs(reopening or {}) do reopens[n] = true end
  for n = 1, count do
    local header = headers[numbers[n] + 1]
    if not repeats[n] then
      for m, prefix in ipairs(header[5]) do
        if ended[prefix] and not reopens[n] then return changed, n, m end
      end
      local isLast = header[6] and true or nil
      for _, prefix in ipairs(header[5]) do
        if ended[prefix] ~= isLast then
          changed[#changed + 1] = {prefix, ended[prefix]}
          ended[prefix] = isLast
        end
      end
    end
  end
  return changed
end

local function takeEndsBack(changed)
  for n = #changed, 1, -1 do ended[changed[n][1]] = changed[n][2] end
end

-- The endings that are left of what this call appends. And of topics that it ends or reopens: with which update they
-- have ended; false if they go on.
local function endingsLeft()
  local lastOf, records = {}, {}
  for _, each in ipairs(added) do
    for _, prefix in ipairs(each[2][5]) do
      if each[2][6] then
        lastOf[prefix] = each[1]
      elseif lastOf[prefix] or saidBefore[prefix] then
        lastOf[prefix] = false
      end
    end
  end
  for _, each in ipairs(added) do
    local position, header, ownId = each[1], each[2], each[4]
    local isLeft = false
    for _, prefix in ipairs(header[6] and header[5] or {}) do isLeft = isLeft or lastOf[prefix] == position end
    if isLeft then
      local isPrivate, bytes, publisher = unpack(header[6])
      local id = ownId and ownId[1]
      if id then bytes = bytes + #id end
      local time, number = parse(position)
      records[#records + 1] = {
        name = position, order = number, publisher = publisher, bytes = bytes,
        value = cjson.encode({header[5], isPrivate, time, publisher, bytes, id}),
      }
    end
  end
  return records, lastOf
end

-- Which topics it has written about, and the endings that have no topic left.
local writtenEnds, emptied = {}, {}
local function rememberEndings()
  local records, lastOf = {}, {}
  if isAnyEnded or next(saidBefore) then records, lastOf = endingsLeft() end
  forgetOutdated(endingKind, #records)
  remember(endingKind, records)
  local goOn, ends, superseded = {}, {}, {}
  for prefix, position in pairs(lastOf) do
    local before = saidBefore[prefix]
    if before then superseded[before] = true end
    if position then
      ends[#ends + 1] = prefix
      ends[#ends + 1] = position
    elseif before then
      goOn[#goOn + 1] = prefix
    end
  end
  writtenEnds = lastOf
  callMany('HDEL', ENDED, goOn)
  callMany('HSET', ENDED, ends)
  for position in pairs(superseded) do
    local value = call('HGET', ENDINGS, position)
    local isLeft = false
    eachEnded(value and cjson.decode(value)[1] or {}, function(_, last) isLeft = isLeft or last == position end)
    if value and not isLeft then
      emptied[position] = value
      forget(endingKind, position)
    end
  end
end

local function takeEndingsBack()
  for position, value in pairs(emptied) do
    local _, number = parse(position)
    redis.pcall('HSET', ENDINGS, position, value)
    redis.pcall('ZADD', ENDING_ORDER, text(number), position)
  end
  for prefix in pairs(writtenEnds) do
    local before = saidBefore[prefix]
    if before then redis.pcall('HSET', ENDED, prefix, before) else redis.pcall('HDEL', ENDED, prefix) end
  end
  takeRememberedBack(endingKind)
end
`;
