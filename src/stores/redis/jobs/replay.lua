-- ARGV: id, capacity.
local job = get(ARGV[6])
if not job then return { 'missing', {} } end
if job.state ~= 'dead' and job.state ~= 'cancelled' and job.state ~= 'skipped' then return { job.state, {} } end
local holder = job.key and redis.call('HGET', index('keys', job.kind), job.key)
if holder then return { 'taken', { holder } } end
if waiting(job.kind) >= tonumber(ARGV[7]) then return { 'full', {} } end
redis.call('ZREM', index(job.state == 'dead' and 'dead' or 'done', job.kind), member(job))
set(job, {
    attempts = 0, replays = tonumber(job.replays) + 1, cancel = false, progress = '0', message = false, started = false,
    finished = false, run_at = now, rank = rank(now, tonumber(job.priority)),
})
if job.key then redis.call('HSET', index('keys', job.kind), job.key, job.id) end
if job.ttl then
    set(job, { expires = now + tonumber(job.ttl) })
    redis.call('ZADD', index('expiring', job.kind), job.expires, job.id)
end
wait(job)
wake('work:' .. job.kind)
return { 'done', shown(job) }
