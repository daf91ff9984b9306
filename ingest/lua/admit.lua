-- Which of these names are known, or may become so today?
-- KEYS: the mark (not used: to ask again does no harm), new names today (hash: field -> "day count"), then for each name the known values of its field (set)
-- ARGV: begin at the latest (Unix ms, by this clock), the mark's number, most new values of a field in a day, most known values of a field,
--       then field and value of each
-- Answers for each: 1 where it is known now, else 0; in place of the first 0 of a field every known value of it. Then today.
local time = redis.call('TIME')
if time[1] * 1000 > tonumber(ARGV[1]) then
  return 'late'
end
local day_number, max_new, max_known = math.floor(time[1] / 86400), tonumber(ARGV[3]), tonumber(ARGV[4])
local today = tostring(day_number)
local counts, refused, answers = {}, {}, {}
for i = 3, #KEYS do
  local field, value = ARGV[2 * i - 1], ARGV[2 * i]
  if not counts[field] then
    local day, count = string.match(redis.call('HGET', KEYS[2], field) or '', '^(%d+) (%d+)$')
    counts[field] = day == today and tonumber(count) or 0
  end
  if redis.call('SISMEMBER', KEYS[i], value) == 1 then
    answers[i - 2] = 1
  elseif counts[field] < max_new and redis.call('SCARD', KEYS[i]) < max_known then
    counts[field] = counts[field] + 1
    redis.call('SADD', KEYS[i], value)
    redis.call('HSET', KEYS[2], field, today .. ' ' .. counts[field])
    answers[i - 2] = 1
  elseif refused[field] then
    answers[i - 2] = 0
  else
    refused[field] = true
    answers[i - 2] = redis.call('SMEMBERS', KEYS[i])
  end
end
answers[#KEYS - 1] = day_number
return answers
