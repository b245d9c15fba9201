-- ARGV: id, kind, priority, time (-1: now), time to live (-1: none), key ('': none), capacity, attempts, correlation id,
-- payload, metadata.
local id, kind, key = ARGV[6], ARGV[7], ARGV[11]
local there = get(id)
if there then return { 'existing', shown(there) } end
if key ~= '' then
    local holder = redis.call('HGET', index('keys', kind), key)
    local job = holder and get(holder)
    if job then return { 'existing', shown(job) } end
end
if waiting(kind) >= tonumber(ARGV[12]) then return { 'full', {} } end
local run_at, ttl = math.max(tonumber(ARGV[9]), now), tonumber(ARGV[10])
local job = { id = id }
set(job, {
    id = id, kind = kind, seq = redis.call('INCR', P .. ':seq'), priority = ARGV[8], created = now, run_at = run_at,
    rank = rank(run_at, tonumber(ARGV[8])), attempts = 0, max_attempts = ARGV[13], replays = 0, progress = '0',
    fence = 0, correlation_id = ARGV[14], payload = ARGV[15], metadata = ARGV[16],
})
if key ~= '' then
    set(job, { key = key })
    redis.call('HSET', index('keys', kind), key, id)
end
if ttl >= 0 then
    set(job, { ttl = ttl, expires = run_at + ttl })
    redis.call('ZADD', index('expiring', kind), job.expires, id)
end
redis.call('ZADD', P .. ':all', job.seq, id)
redis.call('SADD', P .. ':kinds', kind)
wait(job)
wake('work:' .. kind)
return { 'new', shown(job) }
