-- Append events to the stream and count them, or refuse them all where the buffer is full.
-- KEYS: stream, buffer (hash), counters (hash)
-- ARGV: max rows, max bytes, events received, number of other counters, name and amount of each, the lines
-- Answers 1 where the lines are in the stream, 0 where the buffer is full.
local max_rows, max_bytes, received, counter_count =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local first_line = 5 + 2 * counter_count
local rows = #ARGV - first_line + 1
local bytes = 0
for i = first_line, #ARGV do
  bytes = bytes + #ARGV[i]
end

redis.call('HINCRBY', KEYS[3], 'received', received)
local stored_bytes = tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')
if rows > 0 and (redis.call('XLEN', KEYS[1]) + rows > max_rows or stored_bytes + bytes > max_bytes) then
  redis.call('HINCRBY', KEYS[3], 'unavailable', received)
  return 0
end

for i = 5, first_line - 1, 2 do
  redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1])
end
for i = first_line, #ARGV do
  redis.call('XADD', KEYS[1], '*', 'line', ARGV[i])
end
redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
redis.call('HINCRBY', KEYS[3], 'accepted', rows)
return 1
