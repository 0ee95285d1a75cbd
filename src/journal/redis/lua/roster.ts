/**
 * The scripts of the roster. They run inside Redis, each as one atomic step; each is given the keys that it names. What is
 * stored:
 *
 * - NODES, a hash: a node → how often it has beaten, or -1 if it has gone. What they have noted is listed.
 * - LEFT, a hash: a node that has gone → how often somebody has worked on what it has left, which is not listed any more.
 * - SUBSCRIPTIONS of a node, a sorted set in lexical order: a selector, percent-encoded, a slash, and a subscriber.
 * - PAYLOADS of a node, a hash: a subscriber → its payload as JSON, if it has one.
 * - NOTES of a node, a hash: `change`, the key of its last change; `ends`, those of the change that may not be published
 *   yet, as JSON; `state`: `noted` if so, `settled` if not, and `left` if it is a change made of what the node has left.
 *
 * There are no times in it, and no key that expires: whether a node still beats is for the others to see, by their own
 * clocks. The clocks of two servers, or of one that was paused, would have living nodes taken for dead.
 */

/** How many subscriptions that a node has left are one change: all that ask Redis wait for some 2 ms. */
const LEFT_AT_ONCE = 200;

/** Reads the payloads of members at once; those of clients without a token have none. */
const READ_PAYLOADS = `
local function readPayloads(key, members)
  if #members == 0 or redis.call('EXISTS', key) == 0 then return {} end
  local subscribers = {}
  for n, member in ipairs(members) do subscribers[n] = string.match(member, '[^/]*$') end
  return redis.call('HMGET', key, unpack(subscribers)), subscribers
end
`;

/** Keys: VERSION, NODES. Arguments: the version, the node. Returns the version that is stored. The node has begun if it is the same. */
export const JOIN = `
redis.call('SET', KEYS[1], ARGV[1], 'NX')
local version = redis.call('GET', KEYS[1])
if version == ARGV[1] then redis.call('HSET', KEYS[2], ARGV[2], 1) end
return version
`;

/**
 * Keys: NODES, LEFT, and the node's NOTES. Arguments: the node, whether its last change is settled (1 or 0), its last
 * change and the one under way. Returns what NODES and LEFT hold; nothing if the node is expelled.
 */
export const BEAT = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return nil end
local change = redis.call('HGET', KEYS[3], 'change') or ''
if change ~= ARGV[3] and change ~= ARGV[4] then
  -- The server has lost what was noted last, as after a failover.
  redis.call('HSET', KEYS[1], ARGV[1], -1)
  return nil
end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
if ARGV[2] == '1' and change == ARGV[3] then
  redis.call('HSET', KEYS[3], 'state', 'settled')
  redis.call('HDEL', KEYS[3], 'ends')
end
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}
`;

/**
 * Keys: NODES, and the node's NOTES, SUBSCRIPTIONS and PAYLOADS. Arguments: the node, the change, its ends as JSON; then
 * four lists, each after its length: subscriptions to add and to take away, subscribers and their payloads in turn to
 * add, subscribers whose payloads to take away. Returns 1, or 0 if the node is expelled. Made twice, it is as made once.
 */
export const NOTE = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'change', ARGV[2], 'ends', ARGV[3], 'state', 'noted')
local at = 4
local function each(step, act)
  local last = at + tonumber(ARGV[at])
  for n = at + 1, last, step do act(ARGV[n], ARGV[n + 1]) end
  at = last + 1
end
each(1, function(member) redis.call('ZADD', KEYS[3], 0, member) end)
each(1, function(member) redis.call('ZREM', KEYS[3], member) end)
each(2, function(subscriber, payload) redis.call('HSET', KEYS[4], subscriber, payload) end)
each(1, function(subscriber) redis.call('HDEL', KEYS[4], subscriber) end)
return 1
`;

/**
 * Keys: NODES, LEFT. Arguments: a node that has gone, as it seems, which of the two it was seen in (1 or 2), and what was
 * seen there. Returns 1 if that is so still: then what the node has left is the caller's to work on.
 */
export const CLAIM = `
if redis.call('HGET', KEYS[tonumber(ARGV[2])], ARGV[1]) ~= ARGV[3] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
return 1
`;

/**
 * Takes some of what a node has left. Keys: LEFT, and the node's NOTES, SUBSCRIPTIONS and PAYLOADS. Arguments: the node,
 * the change that is published (or none), and a key for the next change. Returns the next change and its ends as JSON;
 * nothing if there is none.
 *
 * The change that the node had under way comes first, and keeps its key: should the node live after all and publish
 * it, then only one of the two can, and nobody learns of a start later than of the end.
 */
export const TAKE_LEFT = `
${READ_PAYLOADS}
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return nil end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
local change, json, state = unpack(redis.call('HMGET', KEYS[2], 'change', 'ends', 'state'))
if state == 'left' and change ~= ARGV[2] then return {change, json} end

local ends = {ended = {}, payloads = {}}
if state == 'noted' then ends = cjson.decode(json) else change = ARGV[3] end
ends.active = redis.call('ZRANGE', KEYS[3], 0, ${LEFT_AT_ONCE} - 1)
local payloads, subscribers = readPayloads(KEYS[4], ends.active)
for n, payload in ipairs(payloads) do ends.payloads[subscribers[n]] = payload or nil end
if #ends.ended + #ends.active == 0 then
  redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
  redis.call('HDEL', KEYS[1], ARGV[1])
  return nil
end
json = cjson.encode(ends)
redis.call('HSET', KEYS[2], 'change', change, 'ends', json, 'state', 'left')
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, ${LEFT_AT_ONCE} - 1)
return {change, json}
`;

/** Keys: NODES. Arguments: the node. What it has left is the others' from now on. */
export const LEAVE = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], -1) end
return 1
`;

/** Keys: NODES. Returns the nodes whose subscriptions are listed. */
export const NODES = `
return redis.call('HKEYS', KEYS[1])
`;

/**
 * Keys: SUBSCRIPTIONS and PAYLOADS of a node. Arguments: between which members, as ZRANGEBYLEX has it, and how many of
 * them. Returns members and their payloads.
 */
export const PAGE = `
${READ_PAYLOADS}
local members = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
return {members, (readPayloads(KEYS[2], members))}
`;
