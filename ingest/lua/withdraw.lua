-- Take back what a push appended whose answer never came: its sender was told 503 and sends it again.
-- KEYS: stream, buffer (hash), counters (hash), this call's token
-- ARGV: the latest start that the push had (Unix ms), events received with it, the lines
-- Answers 'withdrawn', 'sealed' where its rows are a batch's already, 'absent' where they are not here: the push had not
-- run, or its batch is in the bucket by now; 'done' where it was asked before.
if not redis.call('SET', KEYS[4], '', 'NX', 'EX', 3600) then
  return 'done'
end
local begin_by, received, rows = tonumber(ARGV[1]), tonumber(ARGV[2]), #ARGV - 2

-- A push is refused after its latest start, and waits for its answer less than a second.
local entries = redis.call('XRANGE', KEYS[1], begin_by - 1000, begin_by)
local first = nil
for i = 1, #entries do
  if entries[i][2][2] == ARGV[3] then
    first = i
    break
  end
end
if not first then
  redis.call('HINCRBY', KEYS[3], 'received', received)
  redis.call('HINCRBY', KEYS[3], 'unavailable', received)
  return 'absent'
end

local ms, sequence = string.match(entries[first][1], '^(%d+)-(%d+)$')
local sealed_ms, sealed_sequence =
  string.match(redis.call('HGET', KEYS[2], 'sealed_until') or '0-0', '^(%d+)-(%d+)$')
ms, sequence, sealed_ms, sealed_sequence =
  tonumber(ms), tonumber(sequence), tonumber(sealed_ms), tonumber(sealed_sequence)
if ms < sealed_ms or (ms == sealed_ms and sequence <= sealed_sequence) then
  return 'sealed' -- it stays accepted, and what is sent again counts as a duplicate
end

local bytes = 0
for i = first, first + rows - 1 do -- appended in one step, they are side by side
  bytes = bytes + #entries[i][2][2]
  redis.call('XDEL', KEYS[1], entries[i][1])
end
redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
redis.call('HINCRBY', KEYS[3], 'accepted', -rows)
redis.call('HINCRBY', KEYS[3], 'unavailable', rows)
return 'withdrawn'
