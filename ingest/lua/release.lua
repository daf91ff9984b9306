#!lua flags=allow-oom
-- Forget a sealed batch, now that its object is in the bucket. Without effect where that was done before.
-- KEYS: stream, buffer (hash), seals (hash), counters (hash)
-- ARGV: the seal's first id
-- Answers how many rows were released.
local seal = redis.call('HGET', KEYS[3], ARGV[1])
if not seal then
  return 0
end
local last = string.match(seal, '^%S+')
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], last)
local bytes = 0
for i = 1, #entries do
  bytes = bytes + #entries[i][2][2]
  redis.call('XDEL', KEYS[1], entries[i][1])
end
redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
redis.call('HINCRBY', KEYS[4], 'archived', #entries)
redis.call('HDEL', KEYS[3], ARGV[1])
return #entries
