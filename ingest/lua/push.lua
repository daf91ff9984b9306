-- Append events to the stream, charge who sent them, and count: all of it, or none where a limit or a bound says no.
-- KEYS: mark, stream, buffer (hash), counters (hash), dropped (hash), then one key a charge
-- ARGV: begin at the latest (Unix ms, by this clock), the mark's number, max rows, max bytes, most names of senders in
--       `dropped`, events received, number of counters, number of dropped names, name and amount of each of these; then for
--       each charge its cost and its rate (so many events in so many seconds); then the lines
-- Answers {'kept', 0, 0, stream id of the first line}, {'full', 0, 0, ''}, {'limited', ms until it would not be, by which
-- charge, ''}, or 'late'.
-- The mark holds the number and, where lines were kept, the stream ids of the first and the last (withdraw.lua).
local begin_by, max_rows, max_bytes, max_dropped, received, counter_count, dropped_count = tonumber(ARGV[1]),
  tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
if now > begin_by then
  return 'late'
end
local first_counter = 9
local first_dropped = first_counter + 2 * counter_count
local first_charge = first_dropped + 2 * dropped_count
local first_line = first_charge + 3 * (#KEYS - 5)

local function mark(ids)
  redis.call('SET', KEYS[1], ARGV[2] .. ids, 'PX', 600000)
end

redis.call('HINCRBY', KEYS[4], 'received', received)

-- A charge is a bucket that leaks: its key holds until when it is full (the generic cell rate algorithm, ITU-T I.371).
local full_until, wait, limiting = {}, 0, 0
for i = 6, #KEYS do
  local at = first_charge + 3 * (i - 6)
  local cost, burst = tonumber(ARGV[at]), 1000 * ARGV[at + 2]
  local interval = burst / ARGV[at + 1] -- ms that one event takes to be allowed again
  local begin = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), now)
  full_until[i] = begin + cost * interval
  -- What is larger than the bucket passes when the bucket is empty, and is paid for afterwards.
  local wait_here = begin + math.min(cost * interval, burst) - burst - now
  if wait_here > wait then
    wait, limiting = wait_here, i - 5
  end
end
if wait > 0 then
  redis.call('HINCRBY', KEYS[4], 'limited', received)
  mark('')
  return {'limited', math.ceil(wait), limiting, ''}
end

local rows = #ARGV - first_line + 1
local ids, first = '', ''
if rows > 0 then
  local bytes = 0
  for i = first_line, #ARGV do
    bytes = bytes + #ARGV[i]
  end
  local stored_bytes = tonumber(redis.call('HGET', KEYS[3], 'bytes') or '0')
  if redis.call('XLEN', KEYS[2]) + rows > max_rows or stored_bytes + bytes > max_bytes then
    redis.call('HINCRBY', KEYS[4], 'unavailable', received)
    mark('')
    return {'full', 0, 0, ''}
  end
  first = nil
  local last = nil
  for i = first_line, #ARGV do
    last = redis.call('XADD', KEYS[2], '*', 'line', ARGV[i])
    first = first or last
  end
  ids = ' ' .. first .. ' ' .. last
  redis.call('HINCRBY', KEYS[3], 'bytes', bytes)
  redis.call('HINCRBY', KEYS[4], 'accepted', rows)
end
mark(ids)

for i = 6, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.3f', full_until[i]), 'PX', math.max(1, math.ceil(full_until[i] - now)))
end
for i = first_counter, first_dropped - 1, 2 do
  redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1])
end
for i = first_dropped, first_charge - 1, 2 do
  local name = ARGV[i]
  local kind = string.match(name, '^%a+')
  -- The contract's own names are few; those of senders' fields and options are theirs to invent.
  if (kind == 'field' or kind == 'option') and redis.call('HEXISTS', KEYS[5], name) == 0
    and redis.call('HLEN', KEYS[5]) >= max_dropped then
    name = kind .. ':…'
  end
  redis.call('HINCRBY', KEYS[5], name, ARGV[i + 1])
end
return {'kept', 0, 0, first}
