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

/** Looks whether an append has to do with endings: an update is a last one, or a topic is said to have ended. */
export const NEEDS_ENDINGS = `
local prefixes = {}
local needsEndings = #calls == 0 and state.endingsBytes > 0
for _, header in ipairs(headers) do
  needsEndings = needsEndings or header[6]
  if state.endingsBytes > 0 then
    for _, prefix in ipairs(header[5]) do prefixes[#prefixes + 1] = prefix end
  end
end
for from = 1, needsEndings and 0 or #prefixes, ARGUMENTS do
  local said = call('HMGET', ENDED, unpack(prefixes, from, math.min(from + ARGUMENTS - 1, #prefixes)))
  for _, position in ipairs(said) do needsEndings = needsEndings or position end
end
`;

/**
 * Decides for the script that appends whether topics have ended, and remembers what its updates have ended and reopened.
 * They are written last of all: what goes wrong before that has ended nothing.
 */
export const REMEMBER_ENDINGS = `
local endingKind = {
  values = ENDINGS, order = ENDING_ORDER, bytes = ENDING_BYTES, of = BASE .. 'endings-of:', isSorted = true,
  sum = 'endingsBytes', maxBytes = ${MAX_ENDINGS_BYTES}, maxAge = ${ENDING_MAX_AGE_MS}, index = ENDED, timeOf = parse,
}

${ENDED_TOPICS}
local memory = memoryOf(endingKind)

function memory.onForget(position, fields)
  local over = {}
  eachEnded(fields[1], function(prefix, last)
    if last == position then over[#over + 1] = prefix end
  end)
  callMany('HDEL', ENDED, over)
end

-- By index prefix: with which update a topic is said to have ended before this call; and the same of those that are said
-- to have ended still as far as it is decided, or true if they have ended with an update of this call.
local saidBefore, ended = {}, {}
eachEnded(prefixes, function(prefix, position)
  saidBefore[prefix], ended[prefix] = position, position
end)

-- Whether it is as it is said, which matters only for updates that would be refused.
local function hasEnded(prefix)
  local position = ended[prefix]
  if position and position == saidBefore[prefix] and not isEndOf(prefix, position) then ended[prefix] = nil end
  return ended[prefix]
end

-- Ends and reopens topics by the first updates of an append, but for those that are held already. Returns how to take
-- that back; and if one of them is refused, its number and that of its topic.
local function apply(numbers, count, repeats, reopening)
  local changed, reopens = {}, {}
  local function takeBack()
    for n = #changed, 1, -1 do ended[changed[n][1]] = changed[n][2] end
  end
  for _, n in ipairs(reopening or {}) do reopens[n] = true end
  for n = 1, count do
    local header = headers[numbers[n] + 1]
    if not repeats[n] then
      for m, prefix in ipairs(header[5]) do
        if not reopens[n] and hasEnded(prefix) then return takeBack, n, m end
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
  return takeBack
end

-- Of topics that this call ends or reopens: with which update they have ended; false if they go on.
local function lastUpdates()
  local lastOf = {}
  for _, each in ipairs(added) do
    local position, header = each[1], each[2]
    for _, prefix in ipairs(header[5]) do
      if header[6] then
        lastOf[prefix] = position
      elseif lastOf[prefix] or saidBefore[prefix] then
        lastOf[prefix] = false
      end
    end
  end
  return lastOf
end

-- The endings of this call that are left at its end, as they are remembered.
local function endingsLeft(lastOf)
  local left = {}
  for _, each in ipairs(added) do
    local position, header, ownId = each[1], each[2], each[4]
    local isLeft = false
    for _, prefix in ipairs(header[5]) do isLeft = isLeft or lastOf[prefix] == position end
    if isLeft then
      local isPrivate, bytes, publisher = unpack(header[6])
      local id = ownId and ownId[1] or nil
      local value = {header[5], isPrivate, state.time, publisher, bytes + (id and #id or 0), id}
      left[#left + 1] = {position, select(2, parse(position)), value}
    end
  end
  return left
end

-- Does once what it cannot be taken back without. Only entries are written yet, if a permission is missing.
local function try()
  call('HDEL', ENDED, '')
  call('ZREM', ENDING_ORDER, '')
end

-- Which topics were written about, and the endings that have no topic left.
local writtenEnds, emptied = {}, {}

-- Forgets those of some endings that have no topic left.
local function dropEmptied(positions, lastOf)
  local over = {}
  for from = 1, #positions, ARGUMENTS do
    local page = {unpack(positions, from, math.min(from + ARGUMENTS - 1, #positions))}
    for n, value in ipairs(call('HMGET', ENDINGS, unpack(page))) do
      local position, fields = page[n], value and cjson.decode(value)
      local others = {}
      for _, prefix in ipairs(fields and fields[1] or {}) do
        if lastOf[prefix] == nil then others[#others + 1] = prefix end
      end
      local isOver = value
      eachEnded(others, function(_, last) isOver = isOver and last ~= position end)
      if isOver then
        emptied[position] = value
        over[#over + 1] = {position, false, fields}
      end
    end
  end
  memory.drop(over)
end

local function write()
  local lastOf = lastUpdates()
  local left = endingsLeft(lastOf)
  memory.forgetOutdated(#left)
  memory.remember(left)
  local goOn, ends, superseded, isNoted = {}, {}, {}, {}
  for prefix, position in pairs(lastOf) do
    local before = saidBefore[prefix]
    if before and not isNoted[before] then
      isNoted[before] = true
      superseded[#superseded + 1] = before
    end
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
  dropEmptied(superseded, lastOf)
end

local function takeBack()
  for position, value in pairs(emptied) do
    redis.pcall('HSET', ENDINGS, position, value)
    redis.pcall('ZADD', ENDING_ORDER, select(2, parse(position)), position)
  end
  for prefix in pairs(writtenEnds) do
    if saidBefore[prefix] then
      redis.pcall('HSET', ENDED, prefix, saidBefore[prefix])
    else
      redis.pcall('HDEL', ENDED, prefix)
    end
  end
  memory.takeBack()
end

endings = {apply = apply, try = try, write = write, takeBack = takeBack}
`;
