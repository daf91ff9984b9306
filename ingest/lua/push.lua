-- Append events to the stream, charge who sent them, and count: all of it, or none where a limit or a bound says no.
-- KEYS: stream, buffer (hash), counters (hash), dropped (hash), then one key a charge
-- ARGV: begin at the latest (Unix ms, by this clock), max rows, max bytes, most names in `dropped`, events received,
--       number of counters, number of dropped names, name and amount of each of these; then for each charge its cost,
--       its interval (ms that one event takes to be allowed again) and its burst (ms); then the lines
-- Answers {'kept', 0, 0}, {'full', 0, 0}, {'limited', ms until it would not be, by which charge}, or 'late'.
local begin_by, max_rows, max_bytes, max_dropped, received, counter_count, dropped_count = tonumber(ARGV[1]),
  tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
if now > begin_by then
  return 'late'
end
local first_dropped = 8 + 2 * counter_count
local first_charge = first_dropped + 2 * dropped_count
local first_line = first_charge + 3 * (#KEYS - 4)

redis.call('HINCRBY', KEYS[3], 'received', received)

-- A charge is a bucket that leaks: its key holds until when it is full (the generic cell rate algorithm, ITU-T I.371).
local full_until, wait, limiting = {}, 0, 0
for i = 5, #KEYS do
  local at = first_charge + 3 * (i - 5)
  local cost, interval, burst = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local begin = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), now)
  full_until[i] = begin + cost * interval
  -- What is larger than the bucket passes when the bucket is empty, and is paid for afterwards.
  local wait_here = begin + math.min(cost * interval, burst) - burst - now
  if wait_here > wait then
    wait, limiting = wait_here, i - 4
  end
end
if wait > 0 then
  redis.call('HINCRBY', KEYS[3], 'limited', received)
  return {'limited', math.ceil(wait), limiting}
end

local rows = #ARGV - first_line + 1
if rows > 0 then
  local bytes = 0
  for i = first_line, #ARGV do
    bytes = bytes + #ARGV[i]
  end
  local stored_bytes = tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')
  if redis.call('XLEN', KEYS[1]) + rows > max_rows or stored_bytes + bytes > max_bytes then
    redis.call('HINCRBY', KEYS[3], 'unavailable', received)
    return {'full', 0, 0}
  end
  for i = first_line, #ARGV do
    redis.call('XADD', KEYS[1], '*', 'line', ARGV[i])
  end
  redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
  redis.call('HINCRBY', KEYS[3], 'accepted', rows)
end

for i = 5, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.3f', full_until[i]), 'PX', math.max(1, math.ceil(full_until[i] - now)))
end
for i = 8, first_dropped - 1, 2 do
  redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1])
end
for i = first_dropped, first_charge - 1, 2 do
  local name = ARGV[i]
  if redis.call('HEXISTS', KEYS[4], name) == 0 and redis.call('HLEN', KEYS[4]) >= max_dropped then
    name = string.match(name, '^%a+') .. ':…'
  end
  redis.call('HINCRBY', KEYS[4], name, ARGV[i + 1])
end
return {'kept', 0, 0}
