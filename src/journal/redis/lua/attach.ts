/** What a node does first on each connection. */

import { COMMON, STATE } from './common.js';

/**
 * Arguments: the newest position that the caller has told or been told (or `0-0`), a generation to take if there is
 * none, the id of the server's run, the clock of a test or nothing.
 *
 * Returns `OK`, the generation, the newest position, whether entries have been lost, and the newest position before that
 * was found out. They are lost if what the caller has seen goes beyond what is here. Then the journal goes on after that,
 * and tells all that entries of any topic are missing.
 */
export const ATTACH = `
${COMMON}
${STATE}
-- Two servers' clocks may differ by this when one takes over from the other: positions go on beyond it.
local CLOCKS_DIFFER_MS = 1000

-- Does once what other scripts do: a permission that is missing is to end this one, and not the midst of another.
-- It begins with what a Redis without memory allows as well, and may then do the rest: nodes are to attach, and trim.
local probe = BASE .. 'probe'
call('DEL', probe)
call('XADD', probe, '1-1', 'h', '')
call('XRANGE', probe, '-', '+')
call('XREVRANGE', probe, '+', '-')
call('XDEL', probe, '1-1')
call('DEL', probe)
call('ZADD', probe, 0, 'a', 0, 'b')
call('ZINCRBY', probe, 1, 'a')
call('ZCARD', probe)
call('ZRANGE', probe, 0, 0)
call('ZREVRANGE', probe, 0, 0)
call('ZRANGEBYSCORE', probe, '-inf', '+inf')
call('ZRANGEBYLEX', probe, '-', '+')
call('ZREVRANGEBYLEX', probe, '+', '-')
call('ZREM', probe, 'a', 'b')
call('RPUSH', probe, 'a', 'b', 'c')
call('LRANGE', probe, 0, 0)
call('LINDEX', probe, 0)
call('LTRIM', probe, 1, -1)
call('LPOP', probe)
call('LREM', probe, 1, 'c')
call('HSET', probe, 'a', 'b')
call('HGET', probe, 'a')
call('HGETALL', probe)
call('HEXISTS', probe, 'a')
call('HDEL', probe, 'a')

local seen, generation, run, wall = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local state = readState(readState({}, CORE), TRIMMING)
if state.format and state.format ~= FORMAT then return {'FORMAT', state.format} end

local isNew = not state.format
if isNew then
  -- Rather refused than mixed up with what is left of another one.
  if call('EXISTS', ENTRIES, INDEX) > 0 then return {'PART'} end
  -- What is remembered of another one is of updates that are gone: they are to be appended anew.
  call('DEL', KEYS_, KEY_ORDER, KEY_BYTES, ENDED, ENDINGS, ENDING_ORDER, ENDING_BYTES)
  state.format = FORMAT
  state.generation = generation
  state.last = BEGINNING
elseif not isWhole(state) then
  return {'PART'}
end
advance(state, wall)

-- Entries beyond the newest that the state knows of are what is left of a script that was ended in its midst.
local top = call('XREVRANGE', ENTRIES, '+', '-', 'COUNT', 1)[1]
local isTorn = top and isBefore(state.last, top[1])
if isTorn then
  local from = '(' .. state.last
  while true do
    local page = call('XRANGE', ENTRIES, from, '+', 'COUNT', 100)
    if #page == 0 then break end
    for _, raw in ipairs(page) do call('XDEL', ENTRIES, raw[1]) end
  end
  seen = later(seen, top[1])
end
-- So are endings. A topic that is said to have ended with one that is gone has not.
local _, lastNumber = parse(state.last)
for _, position in ipairs(call('ZRANGEBYSCORE', ENDING_ORDER, '(' .. text(lastNumber), '+inf')) do
  call('HDEL', ENDINGS, position)
  call('ZREM', ENDING_ORDER, position)
end
if state.run and state.run ~= run then state.time = state.time + CLOCKS_DIFFER_MS end
state.run = run

local before = state.last
local isLost = isBefore(before, seen)
if isLost then
  local seenTime, seenNumber = parse(seen)
  state.time = math.max(state.time, seenTime)
  -- One number is left out, so that every node notices, also those that have seen as much as this one.
  state.last = text(state.time) .. '-' .. text(math.max(seenNumber, lastNumber) + 1)
  if isNew then state.first = BEGINNING end
  state.first = state.first or BEGINNING
  state.trimmed, state.trimmedId = state.last, state.last
  state.trimmedTopics, state.trimmedIsPrivate = '[]', '1'
  state.through = state.last
end
writeState(state)
return {'OK', state.generation, state.last, isLost and 1 or 0, before}
`;
