-- ARGV: kind, worker, length of the lease.
local kind = ARGV[6]
advance(kind)
local taken = nil
while not taken do
    local first = redis.call('ZRANGE', index('ready', kind), 0, 0)[1]
    if not first then break end
    redis.call('ZREM', index('ready', kind), first)
    local job = get(id_of(first))
    if job and job.expires and tonumber(job.expires) <= now then
        finish(job, 'skipped', EXPIRED)
        tell(job)
    elseif job then
        taken = job
    end
end
if taken then
    local lease = now + tonumber(ARGV[8])
    redis.call('ZREM', index('expiring', kind), taken.id)
    set(taken, {
        state = 'running', attempts = tonumber(taken.attempts) + 1, fence = tonumber(taken.fence) + 1, started = now,
        expires = false, progress = '0', message = false, reason = false, worker = ARGV[7], lease = lease,
    })
    redis.call('ZADD', index('running', kind), text(lease), taken.id)
end
return { text(now), next_time(kind), changed, taken and shown(taken) or {} }
