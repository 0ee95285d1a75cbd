/** The part of the script that appends which trims, in small steps, as retention.ts says. */

import { MAX_TRIMMED_TOPICS } from '../../trimmed-topics.js';
import { REDIS_OVERHEAD } from '../entry.js';

/**
 * Each call trims as much as it appends, in updates and in bytes, and up to so many updates more: some milliseconds' work.
 * It trims nothing that it has appended itself, so that the followers of its caller are told of that first.
 *
 * Whatever is trimmed is the oldest of its owner. So an owner's list loses its runs from the front, and a run that is
 * partly trimmed need not be changed: what is left of it is what the stream still has.
 */
export const TRIM = String.raw`
local limits = options.limits
local isBehind = false

local function trim()
readState(state, TRIMMING)
local TRIM_STEP = #added > 0 and 256 or 1000
local PAGE = 64
local removed, removedBytes = 0, 0

-- How many entries to look at next: in the long run each append trims as much as it has brought.
local function nextPage()
  local over = math.max(state.count - limits.count, state.transientCount - limits.transientCount)
  return math.max(math.min(over, PAGE), 4)
end

local function hasRoom()
  return removed < #added + TRIM_STEP or removedBytes < addedBytes
end

-- What the script must know of an entry, by its header: most have one of few.
local known = {}
local function factsOf(header)
  local facts = known[header]
  if facts then return facts end
  -- What no journal has written ends no append.
  local isOurs, fields = pcall(cjson.decode, header)
  if not isOurs or type(fields) ~= 'table' or type(fields[1]) ~= 'table' then fields = {{}} end
  local function field(n) if fields[n] ~= cjson.null then return fields[n] end end
  local publisher, isTransient = field(6), field(7)
  local kind = field(3)
  local topics = fields[1]
  facts = {
    topics = topics,
    prefixes = {},
    isPrivate = field(2) or false,
    isTransient = isTransient,
    scope = field(5),
    owner = isTransient and 'transient' or (publisher and 'publisher ' .. publisher or 'nobody'),
    bytes = ${REDIS_OVERHEAD.update} + (kind and #kind or 0),
  }
  for n, topic in ipairs(topics) do
    facts.prefixes[n] = 't' .. string.gsub(topic, '%z', '\0\1') .. '\0\0'
    facts.bytes = facts.bytes + ${REDIS_OVERHEAD.topic} + #topic
  end
  known[header] = facts
  return facts
end

-- The number of an entry: as positions are ordered, so are these.
local function numberOf(position)
  return tonumber(string.sub(position, string.find(position, '-', 1, true) + 1))
end

local function toEntry(raw)
  local fields = raw[2]
  local position = raw[1]
  return {
    position = position,
    number = numberOf(position),
    facts = factsOf(fields[2]),
    data = #(fields[4] or ''),
    id = fields[6],
  }
end

-- The first lasting entry that is held; the state says where to look for it. frontIsHeld: it is there.
state.front = state.front or BEGINNING
local function frontPosition()
  if state.frontIsHeld == '1' then return state.front end
  local from = '(' .. state.front
  local asked = 2
  while true do
    local page = call('XRANGE', ENTRIES, from, '+', 'COUNT', asked)
    for _, raw in ipairs(page) do
      if not factsOf(raw[2][2]).isTransient then
        state.front, state.frontIsHeld = raw[1], '1'
        return state.front
      end
    end
    if #page < asked then return nil end
    from = '(' .. page[#page][1]
    asked = PAGE
  end
end

local function isFront(entry)
  -- Most often it is the next one, and nothing can stand between.
  if state.frontIsHeld ~= '1' and entry.number == numberOf(state.front) + 1 then return true end
  return frontPosition() == entry.position
end

local trimmedNumber = state.trimmed and numberOf(state.trimmed) or 0
local throughNumber = state.through and numberOf(state.through) or 0

-- Topics of entries that were trimmed from between others: "newest public, newest private", each maybe empty.
local gaps = {}
local function noteGap(facts, position)
  for _, topic in ipairs(facts.topics) do
    local gap = gaps[topic]
    if not gap then
      gap = {}
      gaps[topic] = gap
    end
    if facts.isPrivate then gap.private = later(gap.private, position) else gap.public = later(gap.public, position) end
  end
end

local function newestOf(value)
  local comma = string.find(value, ',', 1, true)
  local public, private = string.sub(value, 1, comma - 1), string.sub(value, comma + 1)
  if public == '' then return private end
  if private == '' then return public end
  return later(public, private)
end

local function flushGaps()
  for topic, gap in pairs(gaps) do
    local value = call('HGET', GAPS, topic)
    local public, private = '', ''
    if value then
      local comma = string.find(value, ',', 1, true)
      public, private = string.sub(value, 1, comma - 1), string.sub(value, comma + 1)
    else
      state.gapsLength = state.gapsLength + #topic
    end
    if gap.public and (public == '' or isBefore(public, gap.public)) then public = gap.public end
    if gap.private and (private == '' or isBefore(private, gap.private)) then private = gap.private end
    call('HSET', GAPS, topic, public .. ',' .. private)
    state.gapsNext = state.gapsNext + 1
    call('ZADD', GAP_ORDER, text(state.gapsNext), topic)
  end
  gaps = {}
  -- Too many: the oldest are forgotten, and entries of any topic may be missing up to there.
  while call('ZCARD', GAP_ORDER) > ${MAX_TRIMMED_TOPICS} or state.gapsLength > 1048576 do
    local topic = call('ZRANGE', GAP_ORDER, 0, 0)[1]
    local value = topic and call('HGET', GAPS, topic)
    -- Redis may have removed either: then any topic may be missing.
    state.through = later(state.through, value and newestOf(value) or state.trimmed)
    if not topic then
      call('DEL', GAPS)
      state.gapsLength = 0
      break
    end
    state.gapsLength = state.gapsLength - #topic
    call('HDEL', GAPS, topic)
    call('ZREM', GAP_ORDER, topic)
  end
end

-- What a round of trimming takes away; flush() does it.
local outdated, unindexed, freed, reduced = {}, {}, {}, {}

local function remove(entry)
  local position, facts = entry.position, entry.facts
  local place = toPlace(position)
  local bytes = facts.bytes + entry.data
  outdated[#outdated + 1] = position
  for _, prefix in ipairs(facts.prefixes) do unindexed[#unindexed + 1] = prefix .. place end
  if entry.id then
    bytes = bytes + #entry.id
    unindexed[#unindexed + 1] = 'i' .. string.gsub(entry.id, '%z', '\0\1') .. '\0\0' .. place
    freed[#freed + 1] = facts.scope and #entry.id .. ':' .. entry.id .. facts.scope or ':' .. entry.id
  end
  removed = removed + 1
  removedBytes = removedBytes + bytes
  local sum = reduced[facts.owner]
  if not sum then
    sum = {count = 0, bytes = 0}
    reduced[facts.owner] = sum
  end
  sum.count = sum.count + 1
  sum.bytes = sum.bytes + bytes
  sum.through = position
  if facts.isTransient then
    state.transientCount = state.transientCount - 1
    state.transientBytes = state.transientBytes - bytes
    state.trimmedTransient = later(state.trimmedTransient, position)
    return
  end
  state.count = state.count - 1
  state.bytes = state.bytes - bytes
  if isFront(entry) then
    state.front, state.frontIsHeld = position, '0'
    if entry.number > throughNumber then state.through, throughNumber = position, entry.number end
  else
    noteGap(facts, position)
  end
  if entry.number > trimmedNumber then
    trimmedNumber = entry.number
    state.trimmed, state.trimmedId = position, entry.id or position
    state.trimmedTopics = entry.id and cjson.encode(facts.topics) or '[]'
    state.trimmedIsPrivate = facts.isPrivate and '1' or '0'
  end
end

local function flush()
  callMany('XDEL', ENTRIES, outdated)
  callMany('ZREM', INDEX, unindexed)
  callMany('HDEL', IDS, freed)
  for owner, sum in pairs(reduced) do
    if owner ~= 'transient' then
      if tonumber(call('ZINCRBY', COUNTS, -sum.count, owner)) <= 0 then call('ZREM', COUNTS, owner) end
      if tonumber(call('ZINCRBY', BYTES, text(-sum.bytes), owner)) <= 0 then call('ZREM', BYTES, owner) end
    end
    local list = BASE .. 'runs:' .. owner
    while true do
      local asked = math.min(sum.count + 1, PAGE)
      local page = call('LRANGE', list, 0, asked - 1)
      local done = 0
      for _, run in ipairs(page) do
        local last = string.sub(run, string.find(run, ' ', 1, true) + 1)
        if isBefore(sum.through, last) then break end
        done = done + 1
      end
      if done > 0 then call('LTRIM', list, done, -1) end
      if done < asked then break end
    end
  end
  outdated, unindexed, freed, reduced = {}, {}, {}, {}
end

-- Gives an owner's entries, oldest first, to a function, as long as that wants more.
local function eachOf(owner, take)
  local runs = call('LRANGE', BASE .. 'runs:' .. owner, 0, nextPage())
  for _, run in ipairs(runs) do
    local space = string.find(run, ' ', 1, true)
    local from, last = string.sub(run, 1, space - 1), string.sub(run, space + 1)
    while true do
      local asked = nextPage()
      local page = call('XRANGE', ENTRIES, from, last, 'COUNT', asked)
      for _, raw in ipairs(page) do
        if not take(toEntry(raw)) then return end
      end
      if #page < asked then break end
      from = '(' .. page[#page][1]
    end
  end
end

-- Takes the oldest of an owner while the function says so. Returns whether there may be more to take now.
local function takeFrom(owner, isWanted)
  local start = removed
  local isStopped = false
  eachOf(owner, function(entry)
    if not isWanted() then return false end
    if not hasRoom() or entry.number >= firstNumber then
      isBehind, isStopped = true, true
      return false
    end
    remove(entry)
    return true
  end)
  flush()
  return removed > start and not isStopped
end

local function trimTransient()
  local function isOver()
    return state.transientCount > limits.transientCount or state.transientBytes > limits.transientBytes
  end
  while isOver() and takeFrom('transient', isOver) do end
end

local function overWhich()
  if state.count > limits.count then return 'count' end
  if state.bytes > limits.bytes then return 'bytes' end
end

local function trimLasting()
  while true do
    local kind = overWhich()
    if not kind then return end
    local order = kind == 'count' and COUNTS or BYTES
    local share = kind == 'count' and limits.shareCount or limits.shareBytes
    local most = call('ZREVRANGE', order, 0, 1, 'WITHSCORES')
    if #most > 0 and tonumber(most[2]) > share then
      -- It goes first until another one holds more, or nobody more than a share.
      local holding = tonumber(most[2])
      local least = math.max(share, tonumber(most[4] or 0))
      local before = state[kind]
      local goesOn = takeFrom(most[1], function()
        local holds = holding - (before - state[kind])
        return overWhich() == kind and (holds > least or holds == holding)
      end)
      if not goesOn then return end
    else
      local from = state.frontIsHeld == '1' and state.front or '(' .. state.front
      local page = call('XRANGE', ENTRIES, from, '+', 'COUNT', nextPage())
      if #page == 0 then return end
      local isStopped = false
      for _, raw in ipairs(page) do
        if overWhich() ~= kind then break end
        local entry = toEntry(raw)
        if not hasRoom() or entry.number >= firstNumber then
          isBehind, isStopped = true, true
          break
        end
        if entry.facts.isTransient then
          -- It stays, and nothing lasting stands before it.
          if state.frontIsHeld ~= '1' then state.front = entry.position end
        else
          state.front, state.frontIsHeld = entry.position, '1'
          remove(entry)
        end
      end
      flush()
      if isStopped then return end
    end
  end
end

local function trimOld()
  if limits.maxAge == 0 then return end
  local asked = 1
  while true do
    local page = call('XRANGE', ENTRIES, '-', '+', 'COUNT', asked)
    local took = 0
    for _, raw in ipairs(page) do
      local entry = toEntry(raw)
      local appendedAt = parse(entry.position)
      if appendedAt >= state.time - limits.maxAge or entry.number >= firstNumber then break end
      if not hasRoom() then
        isBehind = true
        break
      end
      remove(entry)
      took = took + 1
    end
    flush()
    if took < asked then return end
    asked = PAGE
  end
end

trimTransient()
trimLasting()
trimOld()
flushGaps()
end

if limits.maxAge > 0 or state.count > limits.count or state.bytes > limits.bytes
  or state.transientCount > limits.transientCount or state.transientBytes > limits.transientBytes then
  trim()
end
`;
