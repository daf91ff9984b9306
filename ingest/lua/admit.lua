-- Is this value of a field known, or may it become so today?
-- KEYS: known values (set), values new today (hash: field -> "day count")
-- ARGV: start at the latest (Unix ms, by this clock), field, value, most new values of a field in a day
-- Answers 1 where it is known now, or where the day's bound is reached: every known value.
local time = redis.call('TIME')
if time[1] * 1000 > tonumber(ARGV[1]) then
  return 'late'
end
if redis.call('SISMEMBER', KEYS[1], ARGV[3]) == 1 then
  return 1
end
local today = tostring(math.floor(time[1] / 86400))
local day, count = string.match(redis.call('HGET', KEYS[2], ARGV[2]) or '', '^(%d+) (%d+)$')
count = day == today and tonumber(count) or 0
if count >= tonumber(ARGV[4]) then
  return redis.call('SMEMBERS', KEYS[1])
end
redis.call('SADD', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[2], today .. ' ' .. (count + 1))
return 1
