#!lua flags=allow-oom
-- Seal every batch that is due: fix, for good, which rows belong to it.
-- KEYS: stream, buffer (hash), seals (hash: first id -> last id, rows, bytes)
-- ARGV: max rows, max bytes, max age of a batch's first row in ms, most seals in one call, whether somebody wants it now
-- Answers how many seals were made.
local max_rows, max_bytes, max_age_ms, max_seals =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local at_once = ARGV[5] == '1'
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local sealed_until = redis.call('HGET', KEYS[2], 'sealed_until') or '0-0'
local made = 0

-- A look is due every half second. After a gap Redis itself may have been away, and senders that got no answer take back what
-- they were not told to be there (withdraw.lua): two seconds are left to them. But once: looks may come as seldom as that.
local looked_ms = tonumber(redis.call('HGET', KEYS[2], 'looked_ms') or now_ms)
local held_until_ms = tonumber(redis.call('HGET', KEYS[2], 'held_until_ms') or '0')
redis.call('HSET', KEYS[2], 'looked_ms', now_ms)
if now_ms - looked_ms > 3000 and held_until_ms <= looked_ms then
  held_until_ms = now_ms + 2000
  redis.call('HSET', KEYS[2], 'held_until_ms', held_until_ms)
end
if not at_once and held_until_ms > now_ms and held_until_ms <= now_ms + 2000 then
  return 0
end

while made < max_seals do
  local entries = redis.call('XRANGE', KEYS[1], '(' .. sealed_until, '+', 'COUNT', max_rows)
  if #entries == 0 then
    break
  end
  local rows, bytes, full = 0, 0, #entries == max_rows
  for i = 1, #entries do
    local size = #entries[i][2][2] + 1 -- a line and its newline
    if rows > 0 and bytes + size > max_bytes then
      full = true
      break
    end
    rows, bytes = rows + 1, bytes + size
  end
  local first, last = entries[1][1], entries[rows][1]
  local age_ms = now_ms - tonumber(string.match(first, '^%d+'))
  -- A negative age is a clock that was set back: waiting for it to catch up could take for ever.
  if not full and age_ms >= 0 and age_ms < max_age_ms then
    break
  end
  redis.call('HSET', KEYS[3], first, last .. ' ' .. rows .. ' ' .. bytes)
  redis.call('HSET', KEYS[2], 'sealed_until', last)
  sealed_until = last
  made = made + 1
end
return made
