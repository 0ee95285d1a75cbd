/** What all scripts begin with. They run inside Redis, each as one atomic step. */

import { FORMAT } from '../entry.js';

/**
 * Positions are texts here, `<milliseconds>-<number>`. The number is that of the entry in the journal: it goes up by one
 * from entry to entry, over restarts too. So whoever reads on can tell that nothing is missing.
 */
export const COMMON = `
local META, ENTRIES, INDEX, IDS, COUNTS, BYTES, GAPS, GAP_ORDER, KEYS_, KEY_ORDER, KEY_BYTES,
  ENDED, ENDINGS, ENDING_ORDER, ENDING_BYTES = unpack(KEYS)
local BASE = string.sub(META, 1, -5)
local FORMAT = '${FORMAT}'
local BEGINNING = '0-0'
local call = redis.call

local function text(number) return string.format('%.0f', number) end

local function parse(position)
  local dash = string.find(position, '-', 1, true)
  return tonumber(string.sub(position, 1, dash - 1)), tonumber(string.sub(position, dash + 1))
end

local function isBefore(a, b)
  if a == b then return false end
  local aTime, aNumber = parse(a)
  local bTime, bNumber = parse(b)
  return aTime < bTime or (aTime == bTime and aNumber < bNumber)
end

local function later(a, b)
  if a and isBefore(b, a) then return a end
  return b
end

-- As a text that is ordered as positions are; see keys.ts.
local function toPlace(position)
  local dash = string.find(position, '-', 1, true)
  local number = string.sub(position, dash + 1)
  return string.char(63 + dash) .. string.sub(position, 1, dash - 1) .. string.char(64 + #number) .. number
end

local function positionOf(place)
  local dash = string.byte(place) - 63
  return string.sub(place, 2, dash) .. '-' .. string.sub(place, dash + 2)
end

-- Calls a command with any number of arguments. What one call may be given is limited.
local ARGUMENTS = 1000
local function callMany(command, key, arguments)
  for from = 1, #arguments, ARGUMENTS do
    call(command, key, unpack(arguments, from, math.min(from + ARGUMENTS - 1, #arguments)))
  end
end
`;

/** How the journal's state is read, written and moved on. */
export const STATE = `
-- What every append needs.
local CORE = {
  'format', 'generation', 'run',
  'first', 'last', -- The first position there ever was, and the newest.
  'time', 'wall', 'highWall', 'highTime', -- The clock; see journal-clock.ts.
  'count', 'bytes', 'transientCount', 'transientBytes', -- What is held; transient updates apart.
  'keysBytes', 'endingsBytes',
}
-- What trimming needs as well.
local TRIMMING = {
  'front', 'frontIsHeld', -- No lasting entry is held before it; whether one is at it.
  'trimmed', 'trimmedId', 'trimmedTopics', 'trimmedIsPrivate', -- The newest that was trimmed.
  'through', -- Up to here entries of any topic may have been trimmed.
  'trimmedTransient',
  'gapsLength', 'gapsNext',
}
local IS_NUMBER = {
  time = true, wall = true, highWall = true, highTime = true,
  count = true, bytes = true, transientCount = true, transientBytes = true,
  keysBytes = true, endingsBytes = true, gapsLength = true, gapsNext = true,
}

local stored = {}
local function readState(state, names)
  for n, value in ipairs(call('HMGET', META, unpack(names))) do
    local name = names[n]
    if IS_NUMBER[name] then
      state[name] = tonumber(value or 0)
    elseif value then
      state[name] = value
    end
    stored[name] = value and state[name]
  end
  return state
end

-- Writes what has changed. There is always something: replicas confirm what was written last.
local function writeState(state)
  local fields = {'wall', text(state.wall)}
  for _, names in ipairs({CORE, TRIMMING}) do
    for _, name in ipairs(names) do
      local value = state[name]
      if value and value ~= stored[name] then
        fields[#fields + 1] = name
        fields[#fields + 1] = IS_NUMBER[name] and text(value) or value
      end
    end
  end
  call('HSET', META, unpack(fields))
end

-- Whether what is held is there. Each entry is in both.
local function isWhole(state)
  return state.count + state.transientCount == 0 or call('EXISTS', ENTRIES, INDEX) == 2
end

-- Whether a state is one that this version can go on from, as the generation that the caller knows; else why not.
local function refusal(state, generation)
  if state.format and state.format ~= FORMAT then return 'FORMAT' end
  if state.generation ~= generation or not isWhole(state) then return 'STALE' end
  return false
end

-- Moves the clock on. Its wall is that of Redis, or what a test says.
local LEAP_MS = 60000
local function advance(state, given)
  local wall = given
  if not wall then
    local now = call('TIME')
    wall = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
  end
  if state.time == 0 then
    state.time, state.wall, state.highWall, state.highTime = wall, wall, wall, wall
    return
  end
  local passed = math.max(wall - state.wall, 0)
  local isBack = passed > LEAP_MS and state.wall < state.highWall and wall >= state.highWall
  if isBack then
    state.time = math.max(state.time, state.highTime + (wall - state.highWall))
  else
    state.time = state.time + passed
  end
  state.wall = wall
  if wall >= state.highWall then
    state.highWall = wall
    state.highTime = state.time
  end
end
`;
