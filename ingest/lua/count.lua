#!lua flags=allow-oom
-- Add what was counted without a push; once, however often it is sent.
-- KEYS: counters (hash), latencies (hash), this call's token
-- ARGV: number of counters, name and amount of each, then name and amount of each latency
if not redis.call('SET', KEYS[3], '', 'NX', 'EX', 3600) then
  return 0
end
local counter_count = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  redis.call('HINCRBY', i <= 2 * counter_count and KEYS[1] or KEYS[2], ARGV[i], ARGV[i + 1])
end
return 1
