/** Appends updates, remembers keys and endings, and trims: all that writes. */

import { APPEND_KEYS } from './append-keys.js';
import { COMMON, STATE } from './common.js';
import { NEEDS_ENDINGS, REMEMBER_ENDINGS } from './endings.js';
import { REMEMBERED } from './remembered.js';
import { TRIM } from './trim.js';

/**
 * Arguments:
 *
 * 1. JSON: the generation, the newest position that the caller has seen, whether to `ping`, the limits of the retention;
 * 2. JSON: the headers of the updates; see entry.ts;
 * 3. JSON: the calls of append: for each the numbers of its updates' headers (from 0), the own ids of these (by their
 *    numbers, from 1), its idempotency key, and the numbers of those that reopen their topics; or `false` for what is none;
 * 4. and all that follow: the data of the updates.
 *
 * Returns `OK`, the newest position before, the time of the new entries, whether there is more to trim, and for each call
 * what became of it: `P` and the places of its updates, in series of a time, a first number and a count; `I` and the
 * number of the update whose own id is taken; `E` and the number of the update of an ended topic, and that of the topic;
 * `K` if its key is taken. Last, why a ping has failed, if it has.
 *
 * All is read and decided before the first write, and the first write is one that Redis refuses where it can refuse any,
 * but for permissions and types of keys. Where one of these is wrong later on, what was written is taken back. So an error
 * of Redis means that nothing was appended, unless it says otherwise.
 */
export const APPEND = String.raw`
${COMMON}
${STATE}
local options = cjson.decode(ARGV[1])
local state = readState({}, CORE)
local refused = refusal(state, options.generation)
if refused then return {refused, state.format or ''} end
if isBefore(state.last, options.seen) then return {'STALE', state.format} end
advance(state, options.wall)

local headers = cjson.decode(ARGV[2])
local calls = cjson.decode(ARGV[3])
local time = text(state.time)
local before = state.last
local _, number = parse(before)
local firstNumber = number + 1

-- What becomes of each call, and which updates are new.
local placed, added, outcomes = {}, {}, {}
local argument = 3

-- What is remembered beside the entries. To make a function takes a microsecond, and most appends need none of these. What
-- is too old is forgotten by those that do, and by calls of the script that append nothing.
local keys, endings
local needsKeys = #calls == 0 and state.keysBytes > 0
for _, each in ipairs(calls) do needsKeys = needsKeys or each[3] end
${NEEDS_ENDINGS}
if needsKeys or needsEndings then
${REMEMBERED}
if needsKeys then
${APPEND_KEYS}
end
if needsEndings then
${REMEMBER_ENDINGS}
end
end

local function heldIds(ownIds)
  local held = {}
  for from = 1, #ownIds, 500 do
    local names = {}
    for n = from, math.min(from + 499, #ownIds) do names[#names + 1] = ownIds[n][3] end
    for n, value in ipairs(call('HMGET', IDS, unpack(names))) do held[from + n - 1] = value end
  end
  return held
end

local function decide(each)
  local numbers, ownIds, key, reopening = each[1], each[2], each[3], each[4]
  local data = argument
  argument = argument + #numbers
  if key then
    local known = keys.find(key[1])
    if known then return known[1] == key[2] and 'P' .. known[2] or 'K' end
  end
  local repeats, own, mine = {}, {}, {}
  local taken
  if ownIds then
    local held = heldIds(ownIds)
    -- A number that stands for the entry to come; it is given when all of the call is known.
    for n, ownId in ipairs(ownIds) do
      local known = mine[ownId[3]] or placed[ownId[3]] or held[n]
      if type(known) == 'string' then
        local space = string.find(known, ' ', 1, true)
        known = {string.sub(known, 1, space - 1), string.sub(known, space + 1)}
      end
      if known then
        if known[2] ~= ownId[4] then
          taken = ownId[1]
          break
        end
        repeats[ownId[1]] = known
      else
        local entry = {false, ownId[4]}
        mine[ownId[3]] = entry
        own[ownId[1]] = {ownId[2], ownId[3], entry}
      end
    end
  end
  if endings then
    local before = taken and taken - 1 or #numbers
    local takeEndsBack, ofEnded, topic = endings.apply(numbers, before, repeats, reopening)
    if taken or ofEnded then takeEndsBack() end
    if ofEnded then return 'E' .. ofEnded .. ' ' .. topic end
  end
  if taken then return 'I' .. taken end
  for name, entry in pairs(mine) do placed[name] = entry end

  local series = {}
  local nextTime, nextNumber
  for n = 1, #numbers do
    local entryTime, entryNumber
    local known = repeats[n]
    if known then
      entryTime, entryNumber = parse(known[1])
    else
      number = number + 1
      entryTime, entryNumber = state.time, number
      local ownId = own[n]
      local position = time .. '-' .. text(number)
      if ownId then ownId[3][1] = position end
      added[#added + 1] = {position, headers[numbers[n] + 1], ARGV[data + n], ownId}
    end
    if entryTime == nextTime and entryNumber == nextNumber then
      series[#series] = series[#series] + 1
    else
      series[#series + 1] = entryTime
      series[#series + 1] = entryNumber
      series[#series + 1] = 1
    end
    nextTime, nextNumber = entryTime, entryNumber + 1
  end
  for n, each in ipairs(series) do series[n] = text(each) end
  local places = table.concat(series, ' ')
  if key then keys.add(key, places, #series / 3) end
  return 'P' .. places
end

for n, each in ipairs(calls) do outcomes[n] = decide(each) end

-- A ping writes, and finds out whether keys have types, and this user permissions, with which an append would end in its
-- midst: each of these commands changes nothing where the key is as it should be. The first one is refused
-- where memory is full.
local function ping()
  call('HSET', META, 'pinged', time)
  call('XDEL', ENTRIES, '0-1')
  for _, key in ipairs({INDEX, COUNTS, BYTES, GAP_ORDER, KEY_ORDER, KEY_BYTES, ENDING_ORDER, ENDING_BYTES}) do
    call('ZREM', key, '')
  end
  for _, key in ipairs({IDS, GAPS, KEYS_, ENDED, ENDINGS}) do call('HDEL', key, '') end
end
local pinged
if options.ping then
  local isFine, wrong = pcall(ping)
  if not isFine then pinged = type(wrong) == 'table' and wrong.err or tostring(wrong) end
end

-- From here on it is written.
local written = 0
local indexed, ids, sums = {}, {}, {}
local function write()
local owner, run
local addedBytes = 0
for _, each in ipairs(added) do
  local position, header, data, ownId = each[1], each[2], each[3], each[4]
  local bytes = header[4] + #data
  local place = toPlace(position)
  if ownId then
    call('XADD', ENTRIES, position, 'h', header[1], 'd', data, 'i', ownId[1])
    bytes = bytes + #ownId[1]
    ids[#ids + 1] = ownId[2]
    ids[#ids + 1] = position .. ' ' .. ownId[3][2]
    indexed[#indexed + 1] = 0
    indexed[#indexed + 1] = 'i' .. string.gsub(ownId[1], '%z', '\0\1') .. '\0\0' .. place
  else
    call('XADD', ENTRIES, position, 'h', header[1], 'd', data)
  end
  for _, prefix in ipairs(header[5]) do
    indexed[#indexed + 1] = 0
    indexed[#indexed + 1] = prefix .. place
  end
  written = written + 1
  local sum = sums[header[2]]
  if not sum then
    sum = {count = 0, bytes = 0, isTransient = header[3], runs = {}}
    sums[header[2]] = sum
  end
  sum.count = sum.count + 1
  sum.bytes = sum.bytes + bytes
  addedBytes = addedBytes + bytes
  -- Entries of one owner that stand next to each other are one run.
  if owner ~= header[2] then
    owner = header[2]
    run = {position, position}
    sum.runs[#sum.runs + 1] = run
  end
  run[2] = position
end
if endings then endings.try() end
callMany('ZADD', INDEX, indexed)
callMany('HSET', IDS, ids)
for name, sum in pairs(sums) do
  local list = {}
  for _, each in ipairs(sum.runs) do list[#list + 1] = each[1] .. ' ' .. each[2] end
  callMany('RPUSH', BASE .. 'runs:' .. name, list)
  if sum.isTransient then
    state.transientCount = state.transientCount + sum.count
    state.transientBytes = state.transientBytes + sum.bytes
  else
    state.count = state.count + sum.count
    state.bytes = state.bytes + sum.bytes
    call('ZINCRBY', COUNTS, sum.count, name)
    sum.isCounted = true
    call('ZINCRBY', BYTES, text(sum.bytes), name)
    sum.isWeighed = true
  end
end
if #added > 0 then
  state.first = state.first or added[1][1]
  state.last = added[#added][1]
end
if keys then keys.write() end
${TRIM}
if endings then endings.write() end
writeState(state)
return {'OK', before, time, isBehind and 1 or 0, outcomes, pinged}
end

-- A permission that was taken away, or a key of another type, ends it in its midst: then nobody is to find any of it, and
-- a repeat is to be made anew. What it has trimmed is gone.
local function takeBack()
  for n = 1, written do
    if type(redis.pcall('XDEL', ENTRIES, added[n][1])) == 'table' then return false end
  end
  for n = 2, #indexed, 2 do redis.pcall('ZREM', INDEX, indexed[n]) end
  for n = 1, #ids, 2 do redis.pcall('HDEL', IDS, ids[n]) end
  for name, sum in pairs(sums) do
    if sum.isCounted then redis.pcall('ZINCRBY', COUNTS, -sum.count, name) end
    if sum.isWeighed then redis.pcall('ZINCRBY', BYTES, text(-sum.bytes), name) end
  end
  if keys then keys.takeBack() end
  if endings then endings.takeBack() end
  -- The stream takes no entry before its newest, also where that is gone.
  if written > 0 then redis.pcall('HSET', META, 'time', text(state.time + 1), 'wall', text(state.wall)) end
  return true
end

local isDone, result = pcall(write)
if isDone then return result end
if not takeBack() then return redis.error_reply('ERR An append was ended in its midst, and cannot be taken back') end
local message = type(result) == 'table' and result.err or tostring(result)
-- Those of Redis say in their first word what it is; in 6.2, and where Lua itself has failed, a place stands before that.
return redis.error_reply(string.find(message, '^%u+ ') and message or 'ERR ' .. message)
`;
