#!lua flags=allow-oom
-- Take back what a push appended whose answer never came: its sender was told 503 and sends it again.
-- KEYS: stream, buffer (hash), counters (hash), the push's mark, this call's token
-- ARGV: the mark's number, events received with the push
-- Answers 'withdrawn'; 'sealed' where its rows are a batch's already, which stay accepted; 'absent' where it did not run;
-- 'settled' where it ran and kept nothing; 'done' where this was asked before.
if not redis.call('SET', KEYS[5], '', 'NX', 'EX', 3600) then
  return 'done'
end
local received = tonumber(ARGV[2])
local number, first, last = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+) ?(%S*) ?(%S*)$')
if number ~= ARGV[1] then
  redis.call('HINCRBY', KEYS[3], 'received', received)
  redis.call('HINCRBY', KEYS[3], 'unavailable', received)
  return 'absent'
end
if first == '' then
  return 'settled'
end

local function position(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end
local ms, sequence = position(first)
local sealed_ms, sealed_sequence = position(redis.call('HGET', KEYS[2], 'sealed_until') or '0-0')
if ms < sealed_ms or (ms == sealed_ms and sequence <= sealed_sequence) then
  return 'sealed' -- what is sent again counts as a duplicate
end

local entries, bytes = redis.call('XRANGE', KEYS[1], first, last), 0
for i = 1, #entries do -- appended in one step, they are side by side
  bytes = bytes + #entries[i][2][2]
  redis.call('XDEL', KEYS[1], entries[i][1])
end
redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
redis.call('HINCRBY', KEYS[3], 'accepted', -#entries)
redis.call('HINCRBY', KEYS[3], 'unavailable', #entries)
return 'withdrawn'
