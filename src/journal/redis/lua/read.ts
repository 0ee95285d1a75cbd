/** The scripts that only read. Each looks at one moment of the journal, and returns no more than it is asked for. */

import { COMMON, STATE } from './common.js';
import { ENDED_TOPICS } from './endings.js';

/** Adds an entry to what is returned: its position, header, data and own id. Returns how many bytes its data has. */
const ADD_ENTRY = `
local function addEntry(found, raw)
  local fields = raw[2]
  local n, data = #found, fields[4] or ''
  found[n + 1], found[n + 2], found[n + 3], found[n + 4] = raw[1], fields[2], data, fields[6] or false
  return #data
end
`;

/**
 * Reads a part of the stream. Arguments: where it begins and ends, as XRANGE has it; at most how many entries; no more
 * once their data has so many bytes.
 *
 * Returns the newest position that was trimmed, and of transient entries; the newest position; whether there may be more;
 * and of each entry its position, header, data and own id, in one list.
 */
export const READ = `
${COMMON}
${ADD_ENTRY}
local PAGE = 16
local from, through = ARGV[1], ARGV[2]
local maxEntries, maxBytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local found = {}
local count, bytes = 0, 0
local isMore = true
while count < maxEntries and (count == 0 or bytes < maxBytes) do
  local asked = math.min(PAGE, maxEntries - count)
  local page = call('XRANGE', ENTRIES, from, through, 'COUNT', asked)
  for _, raw in ipairs(page) do
    bytes = bytes + addEntry(found, raw)
    count = count + 1
    if bytes >= maxBytes then break end
  end
  if #page < asked then
    isMore = bytes >= maxBytes and count > 0
    break
  end
  from = '(' .. page[#page][1]
  PAGE = 64
end
local state = call('HMGET', META, 'trimmed', 'trimmedTransient', 'last')
return {state[1], state[2], state[3], isMore and 1 or 0, found}
`;

/**
 * Reads entries at positions. Arguments: no more once their data has so many bytes; the positions.
 *
 * Returns what {@link READ} does, but in place of whether there is more: how many of the positions were looked at.
 */
export const FETCH = `
${COMMON}
${ADD_ENTRY}
local maxBytes = tonumber(ARGV[1])
local found = {}
local bytes, looked = 0, 0
for n = 2, #ARGV do
  local raw = call('XRANGE', ENTRIES, ARGV[n], ARGV[n])[1]
  looked = looked + 1
  if raw then
    bytes = bytes + addEntry(found, raw)
    if bytes >= maxBytes then break end
  end
end
local state = call('HMGET', META, 'trimmed', 'trimmedTransient', 'last')
return {state[1], state[2], state[3], looked, found}
`;

/**
 * Finds where entries of topics stand, in order. Arguments: at most how many of each; after which place, with `[` or `(`
 * before it, and through which; the index prefixes of the topics. Returns a list of places for each topic; see keys.ts.
 */
export const PLACES = String.raw`
${COMMON}
local count, after, through = ARGV[1], ARGV[2], ARGV[3]
local lists = {}
for n = 4, #ARGV do
  local prefix = ARGV[n]
  local min = string.sub(after, 1, 1) .. prefix .. string.sub(after, 2)
  local max = through == '' and '(' .. prefix .. '\255' or '[' .. prefix .. through
  local members = call('ZRANGEBYLEX', INDEX, min, max, 'LIMIT', 0, count)
  for at, member in ipairs(members) do members[at] = string.sub(member, #prefix + 1) end
  lists[#lists + 1] = members
end
return lists
`;

/**
 * Finds the newest entries of topics. Arguments: at most how many of each; before which place (or an empty text); no more
 * of a topic once their data has so many bytes; the index prefixes of the topics.
 *
 * Returns for each topic whether there may be more, and its entries, the newest first, as {@link READ} does.
 */
export const NEWEST = String.raw`
${COMMON}
${ADD_ENTRY}
local PAGE = 64
local count, before, maxBytes = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local lists = {}
for n = 4, #ARGV do
  local prefix = ARGV[n]
  local found = {}
  local taken, bytes = 0, 0
  local isMore = false
  local max = before == '' and '(' .. prefix .. '\255' or '(' .. prefix .. before
  while taken < count and bytes < maxBytes do
    local asked = math.min(PAGE, count - taken)
    local members = call('ZREVRANGEBYLEX', INDEX, max, '[' .. prefix, 'LIMIT', 0, asked)
    for _, member in ipairs(members) do
      local position = positionOf(string.sub(member, #prefix + 1))
      local raw = call('XRANGE', ENTRIES, position, position)[1]
      if raw then
        bytes = bytes + addEntry(found, raw)
        taken = taken + 1
        if bytes >= maxBytes then
          isMore = true
          break
        end
      end
    end
    if #members < asked then break end
    max = '(' .. members[#members]
  end
  lists[#lists + 1] = isMore and 1 or 0
  lists[#lists + 1] = found
end
return lists
`;

/**
 * Lists topics. Arguments: the index prefix of the last one before (or an empty text), and how many. Returns their index
 * prefixes.
 */
export const TOPICS = String.raw`
${COMMON}
local after, count = ARGV[1], tonumber(ARGV[2])
local found = {}
local min = after == '' and '[t' or '(' .. after .. '\255'
while #found < count do
  local member = call('ZRANGEBYLEX', INDEX, min, '(u', 'LIMIT', 0, 1)[1]
  if not member then break end
  local _, stop = string.find(member, '%z%z')
  local prefix = string.sub(member, 1, stop)
  found[#found + 1] = prefix
  min = '(' .. prefix .. '\255'
end
return found
`;

/**
 * Lists endings. Arguments: how many, after those of updates up to which number, the clock of a test or nothing.
 *
 * Returns up to which number it has looked, whether there may be more, and of each ending its position, its value, and the
 * numbers of its topics that have ended still, in one list.
 */
export const LIST_ENDINGS = `
${COMMON}
${STATE}
local MAX_TOPICS = 1000
local count, number = tonumber(ARGV[1]), tonumber(ARGV[2])
local state = readState({}, CORE)
advance(state, tonumber(ARGV[3]))
${ENDED_TOPICS}
local found, looked = {}, 0
if state.endingsBytes == 0 then return {text(number), 0, found} end
local positions = call('ZRANGEBYSCORE', ENDING_ORDER, '(' .. text(number), '+inf', 'LIMIT', 0, count)
for _, position in ipairs(positions) do
  -- Updates may have many topics.
  if looked >= MAX_TOPICS then break end
  number = select(2, parse(position))
  local value = call('HGET', ENDINGS, position)
  local prefixes = value and cjson.decode(value)[1] or {}
  looked = looked + #prefixes
  local topics = {}
  eachEnded(prefixes, function(prefix, last, n)
    if last == position and isEndOf(prefix, position) then topics[#topics + 1] = n end
  end)
  if #topics > 0 then
    local n = #found
    found[n + 1], found[n + 2], found[n + 3] = position, value, topics
  end
end
local isMore = #positions == count or looked >= MAX_TOPICS
return {text(number), isMore and 1 or 0, found}
`;

/** Returns the position and the own id of the oldest entry and of the newest. */
export const BOUNDS = `
${COMMON}
local oldest = call('XRANGE', ENTRIES, '-', '+', 'COUNT', 1)[1]
local newest = call('XREVRANGE', ENTRIES, '+', '-', 'COUNT', 1)[1]
if not oldest then return {} end
return {oldest[1], oldest[2][6] or false, newest[1], newest[2][6] or false}
`;

/**
 * Returns how many updates are held, how many bytes of them, and how many milliseconds ago the oldest was appended. Of
 * tests: the time, as argument.
 */
export const MEASURE = `
${COMMON}
${STATE}
local state = readState({}, CORE)
local oldest = call('XRANGE', ENTRIES, '-', '+', 'COUNT', 1)[1]
local age = false
if oldest then
  advance(state, tonumber(ARGV[1]))
  age = text(math.max(state.time - parse(oldest[1]), 0))
end
return {text(state.count), text(state.bytes), age}
`;

/**
 * Looks for an id. Arguments: its index prefix, after which place of it to look (or an empty text), and the id itself if
 * it is a position (or an empty text).
 *
 * Returns: the first position there ever was, the newest, up to which position entries of any topic may be trimmed, the
 * newest that was trimmed, its id, its topics as JSON, whether it was private, the newest transient one that was trimmed;
 * whether an entry is at the position, and the positions of the entries held before and after it; the positions and
 * headers of entries with the id, in one list.
 */
export const LOCATE = String.raw`
${COMMON}
local PAGE = 100
local prefix, after, position = ARGV[1], ARGV[2], ARGV[3]
local state = call('HMGET', META, 'first', 'last', 'through', 'trimmed', 'trimmedId', 'trimmedTopics',
  'trimmedIsPrivate', 'trimmedTransient')
local isHeld, previous, following = 0, false, false
if position ~= '' then
  isHeld = #call('XRANGE', ENTRIES, position, position)
  local olderEntry = call('XREVRANGE', ENTRIES, '(' .. position, '-', 'COUNT', 1)[1]
  local newerEntry = call('XRANGE', ENTRIES, '(' .. position, '+', 'COUNT', 1)[1]
  previous = olderEntry and olderEntry[1] or false
  following = newerEntry and newerEntry[1] or false
end
local found = {}
local members = call('ZRANGEBYLEX', INDEX, '(' .. prefix .. after, '(' .. prefix .. '\255', 'LIMIT', 0, PAGE)
for _, member in ipairs(members) do
  local at = positionOf(string.sub(member, #prefix + 1))
  local raw = call('XRANGE', ENTRIES, at, at)[1]
  if raw then
    found[#found + 1] = at
    found[#found + 1] = raw[2][2]
  end
end
return {state[1], state[2], state[3], state[4], state[5], state[6], state[7], state[8],
  isHeld, previous, following, #members, found}
`;

/**
 * Of which topics entries were trimmed from between others. Arguments: the topics to look for; with none, all. Returns up
 * to where it may be any topic, and in one list the topics and the newest positions of each, public and private.
 */
export const TRIMMED_TOPICS = `
${COMMON}
local found = {}
if #ARGV == 0 then
  found = call('HGETALL', GAPS)
else
  for from = 1, #ARGV, ARGUMENTS do
    local topics = {unpack(ARGV, from, math.min(from + ARGUMENTS - 1, #ARGV))}
    for n, value in ipairs(call('HMGET', GAPS, unpack(topics))) do
      if value then
        found[#found + 1] = topics[n]
        found[#found + 1] = value
      end
    end
  end
end
return {call('HGET', META, 'through'), found}
`;
